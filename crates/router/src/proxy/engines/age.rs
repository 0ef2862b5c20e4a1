//! When what a worker reported is too old, and who is told that policies do not see it.

use std::time::Duration;

use tokio::time::Instant;

use crate::proxy::endpoint::Endpoint;
use crate::proxy::engines::reading::Reading;
use crate::proxy::report_log::ReportFailure;
use crate::proxy::roster::Roster;
use sglang_router_rs::core::WorkerReport;

/// After so many intervals without a report, a worker's numbers are unknown.
const STALE_INTERVALS: u32 = 3;

/// Keeps the age of one worker's reports.
pub(crate) struct ReportAge<'a> {
    endpoint: &'a Endpoint,
    roster: &'a Roster,
    url: String,
    limit: Duration,
    /// When the last report, or the beginning, is too long ago; `None` once that was noticed.
    stale_at: Option<Instant>,
    /// Whether the log says that it reports; `None` if it says nothing yet.
    told: Option<bool>,
    last_failure: Option<ReportFailure>,
}

impl<'a> ReportAge<'a> {
    /// Of a worker that is asked in this interval.
    pub(crate) fn new(endpoint: &'a Endpoint, roster: &'a Roster, interval: Duration) -> Self {
        let mut age = Self {
            endpoint,
            roster,
            url: endpoint.url().to_string(),
            limit: interval * STALE_INTERVALS,
            stale_at: None,
            told: None,
            last_failure: None,
        };
        age.begin();
        age
    }

    /// The worker has just come up.
    pub(crate) fn begin(&mut self) {
        self.stale_at = Some(Instant::now() + self.limit);
        self.told = None;
        self.last_failure = None;
    }

    /// It reported this, at this path.
    pub(crate) fn renew(&mut self, reading: &Reading, engine: &str, path: &str) {
        self.roster.report(&self.url, |rank| reading.part(rank).report());
        self.endpoint.reports().heard(&reading.report());
        self.stale_at = Some(Instant::now() + self.limit);
        if self.told != Some(true) {
            tracing::info!(worker = self.url, engine, path, "reports its load");
        }
        self.told = Some(true);
    }

    /// It did not.
    pub(crate) fn failed(&mut self, failure: ReportFailure) {
        self.endpoint.reports().failed(failure);
        self.last_failure = Some(failure);
    }

    /// Waits for `event`; what was reported is forgotten in time meanwhile.
    pub(crate) async fn watched<T>(&mut self, event: impl Future<Output = T>) -> T {
        let mut event = std::pin::pin!(event);
        if let Some(stale_at) = self.stale_at {
            tokio::select! {
                biased;
                happened = &mut event => return happened,
                () = tokio::time::sleep_until(stale_at) => {}
            }
            self.forget();
        }
        event.await
    }

    fn forget(&mut self) {
        self.stale_at = None;
        self.roster.report(&self.url, |_| WorkerReport::UNKNOWN);
        // Of one that does not pass its checks the log says so already.
        if self.endpoint.is_passing() && self.told != Some(false) {
            self.told = Some(false);
            let cause = self.last_failure.map_or("timeout", ReportFailure::as_str);
            let worker = &self.url;
            tracing::warn!(
                worker,
                cause,
                "does not report its load: policies that look at it do not know it"
            );
        }
    }
}
