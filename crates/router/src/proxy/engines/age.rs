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

/// The log says at most once in so long that a worker does not report, and as often that it does again.
const QUIET: Duration = Duration::from_secs(60);

/// Keeps the age of one worker's reports.
pub(crate) struct ReportAge<'a> {
    endpoint: &'a Endpoint,
    roster: &'a Roster,
    url: String,
    limit: Duration,
    /// When the last report, or the beginning, is too long ago; `None` once that was noticed.
    stale_at: Option<Instant>,
    log: ReportLines,
    last_failure: Option<ReportFailure>,
}

/// What the log says of a worker's reports.
#[derive(Debug, Default)]
struct ReportLines {
    /// Whether it says that it reports; `None` if it says nothing yet.
    told: Option<bool>,
    /// When it last said that it does not: an engine that changes its mind all the time must not flood it.
    warned_at: Option<Instant>,
}

impl ReportLines {
    /// It reports: true if the log does not say so yet.
    fn reports(&mut self) -> bool {
        self.told.replace(true) != Some(true)
    }

    /// It does not. If the log does not say so yet, it must at once, or else at this time, if it still does not.
    fn is_silent(&mut self, now: Instant) -> Option<Instant> {
        if self.told == Some(false) {
            return None;
        }
        let due = self.warned_at.map_or(now, |at| at + QUIET);
        if due <= now {
            (self.told, self.warned_at) = (Some(false), Some(now));
        }
        Some(due.max(now))
    }
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
            log: ReportLines::default(),
            last_failure: None,
        };
        age.begin();
        age
    }

    /// The worker has just come up.
    pub(crate) fn begin(&mut self) {
        self.stale_at = Some(Instant::now() + self.limit);
        self.log.told = None;
        self.last_failure = None;
    }

    /// It reported this, at this path.
    pub(crate) fn renew(&mut self, reading: &Reading, engine: &str, path: &str) {
        self.roster.report(&self.url, |rank| reading.part(rank).report());
        self.endpoint.reports().heard(&reading.report());
        self.stale_at = Some(Instant::now() + self.limit);
        if self.log.reports() {
            tracing::info!(worker = self.url, engine, path, "reports its load");
        }
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
        if !self.endpoint.is_passing() {
            return;
        }
        let now = Instant::now();
        match self.log.is_silent(now) {
            Some(due) if due == now => {
                let cause = self.last_failure.map_or("timeout", ReportFailure::as_str);
                let worker = &self.url;
                tracing::warn!(
                    worker,
                    cause,
                    "does not report its load: policies that look at it do not know it"
                );
            }
            later => self.stale_at = later,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn worker_that_changes_its_mind_all_the_time_fills_no_log() {
        let (mut lines, begin) = (ReportLines::default(), Instant::now());
        assert!(lines.reports());
        assert_eq!(lines.is_silent(begin), Some(begin));
        assert!(lines.reports());
        for ms in 1..1000 {
            let now = begin + Duration::from_millis(ms);
            assert_eq!(lines.is_silent(now), Some(begin + QUIET), "it is told later, if it stays so");
            assert!(!lines.reports(), "{ms}");
        }
        assert_eq!(lines.is_silent(begin + QUIET), Some(begin + QUIET));
        assert_eq!(lines.is_silent(begin + QUIET), None, "the log says so");
    }
}
