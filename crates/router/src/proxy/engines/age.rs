//! When what a worker reported is too old, and who is told that policies do not see it.

use std::time::Duration;

use tokio::time::Instant;

use crate::proxy::report_log::ReportFailure;
use crate::proxy::target::Target;
use sglang_router_rs::core::{Worker, WorkerReport};

/// After so many intervals without a report, a worker's numbers are unknown.
const STALE_INTERVALS: u32 = 3;

/// Keeps the age of one worker's reports.
pub(crate) struct ReportAge<'a> {
    target: &'a Target,
    limit: Duration,
    /// When the last report, or the beginning, is too long ago; `None` once that was noticed.
    stale_at: Option<Instant>,
    /// Whether the log says that it reports; `None` if it says nothing yet.
    told: Option<bool>,
    last_failure: Option<ReportFailure>,
}

impl<'a> ReportAge<'a> {
    /// Of a worker that is asked in this interval.
    pub(crate) fn new(target: &'a Target, interval: Duration) -> Self {
        let mut age = Self {
            target,
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
    pub(crate) fn renew(&mut self, report: &WorkerReport, engine: &str, path: &str) {
        self.target.worker().set_report(report);
        self.target.reports().heard(report);
        self.stale_at = Some(Instant::now() + self.limit);
        if self.told != Some(true) {
            tracing::info!(worker = self.target.worker().url(), engine, path, "reports its load");
        }
        self.told = Some(true);
    }

    /// It did not.
    pub(crate) fn failed(&mut self, failure: ReportFailure) {
        self.target.reports().failed(failure);
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
        self.target.worker().set_report(&WorkerReport::UNKNOWN);
        // Of one that does not pass its checks the log says so already.
        if self.target.is_passing() && self.told != Some(false) {
            self.told = Some(false);
            let cause = self.last_failure.map_or("timeout", ReportFailure::as_str);
            let worker = self.target.worker().url();
            tracing::warn!(
                worker,
                cause,
                "does not report its load: policies that look at it do not know it"
            );
        }
    }
}
