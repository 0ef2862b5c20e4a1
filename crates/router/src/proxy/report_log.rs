//! What became of the questions for a worker's load, so that a worker that policies cannot see is seen by
//! operators.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use sglang_router_rs::core::{Column, WorkerReport};

/// Why there was no report, or none that can be used as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReportFailure {
    /// No connection, or one that broke before an answer.
    Unreachable,
    /// No whole answer in time.
    Timeout,
    /// An error status.
    Status,
    /// It has none of the paths where its engine tells of its load.
    Absent,
    /// An answer that tells no load, or is too large to be one.
    Unreadable,
    /// Numbers that cannot be: negative, not finite, beyond all bounds, or no numbers. The others are used.
    Nonsense,
}

impl ReportFailure {
    /// All of them with their names in metrics, each at its own number.
    pub const ALL: [(Self, &'static str); 6] = [
        (Self::Unreachable, "unreachable"),
        (Self::Timeout, "timeout"),
        (Self::Status, "status"),
        (Self::Absent, "absent"),
        (Self::Unreadable, "unreadable"),
        (Self::Nonsense, "nonsense"),
    ];

    /// The name in metrics and logs.
    pub fn as_str(self) -> &'static str {
        Self::ALL.get(self as usize).map_or("", |(_, name)| name)
    }
}

/// Where a worker's reports come from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReportSource {
    /// The version that the engine says it has.
    pub version: Option<String>,
    /// The path that it is asked at, once that is known.
    pub path: Option<&'static str>,
}

/// Who reported what, and how often not. For one keeper that writes, and anybody who reads.
#[derive(Debug, Default)]
pub struct ReportLog {
    failures: [AtomicU64; ReportFailure::ALL.len()],
    is_asked: AtomicBool,
    /// A bit for each column that the worker has ever told.
    told: AtomicU32,
    heard: Mutex<Option<Instant>>,
    source: Mutex<ReportSource>,
}

impl ReportLog {
    /// The worker is asked for its load from now on, or not any more.
    pub(crate) fn set_asked(&self, is_asked: bool) {
        // Relaxed: a flag that orders nothing else.
        self.is_asked.store(is_asked, Ordering::Relaxed);
    }

    /// It reported this.
    pub(crate) fn heard(&self, report: &WorkerReport) {
        let known = Column::ALL.into_iter().filter(|column| is_known(*column, report.bits(*column)));
        // Relaxed: one writes, and who reads a moment too early reads again.
        self.told.fetch_or(known.fold(0, |bits, column| bits | bit(column)), Ordering::Relaxed);
        *self.heard.lock() = Some(Instant::now());
    }

    /// A question failed.
    pub(crate) fn failed(&self, failure: ReportFailure) {
        if let Some(counter) = self.failures.get(failure as usize) {
            // Relaxed: a counter.
            counter.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Another engine is there, of which nothing was heard yet.
    pub(crate) fn begin_anew(&self) {
        // Relaxed: see `heard`.
        self.told.store(0, Ordering::Relaxed);
    }

    pub(crate) fn set_source(&self, source: ReportSource) {
        *self.source.lock() = source;
    }

    /// Where reports come from.
    pub fn source(&self) -> ReportSource {
        self.source.lock().clone()
    }

    /// How many questions failed for this reason.
    pub fn failures(&self, failure: ReportFailure) -> u64 {
        // Relaxed: a counter.
        self.failures.get(failure as usize).map_or(0, |counter| counter.load(Ordering::Relaxed))
    }

    /// True if it has told this of itself at any time.
    pub fn has_told(&self, column: Column) -> bool {
        // Relaxed: see `heard`.
        self.told.load(Ordering::Relaxed) & bit(column) != 0
    }

    /// True if it has told something or failed to, or is not asked at all.
    pub fn had_a_say(&self) -> bool {
        let has_failed = ReportFailure::ALL.into_iter().any(|(failure, _)| self.failures(failure) > 0);
        has_failed || self.age_secs().is_none_or(f64::is_finite)
    }

    /// The age of its last report, however old; infinite if there was none. `None` if it is not asked.
    pub fn age_secs(&self) -> Option<f64> {
        // Relaxed: see `set_asked`.
        if !self.is_asked.load(Ordering::Relaxed) {
            return None;
        }
        let age = self.heard.lock().map(|heard| heard.elapsed());
        Some(age.as_ref().map_or(f64::INFINITY, Duration::as_secs_f64))
    }
}

fn bit(column: Column) -> u32 {
    1_u32.checked_shl(column as u32).unwrap_or(0)
}

fn is_known(column: Column, bits: u32) -> bool {
    WorkerReport::is_said_by_worker(column) && bits != column.unknown()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn age_grows_on_and_is_infinite_before_the_first_report() {
        let log = ReportLog::default();
        assert_eq!((log.age_secs(), log.had_a_say()), (None, true), "nobody asks it");
        log.set_asked(true);
        assert_eq!((log.age_secs(), log.had_a_say()), (Some(f64::INFINITY), false));
        log.heard(&WorkerReport { running: 3, ..WorkerReport::UNKNOWN });
        tokio::time::advance(Duration::from_secs(7)).await;
        assert_eq!((log.age_secs(), log.had_a_say()), (Some(7.0), true));
        assert!(log.has_told(Column::Running) && !log.has_told(Column::Waiting));
        log.begin_anew();
        assert!(!log.has_told(Column::Running));
    }

    #[test]
    fn failure_stands_at_its_own_number_and_every_column_has_a_bit() {
        let mut all = ReportFailure::ALL.into_iter().enumerate();
        assert!(all.all(|(number, (failure, name))| failure as usize == number && failure.as_str() == name));
        assert!(Column::ALL.into_iter().all(|column| bit(column) != 0));
    }
}
