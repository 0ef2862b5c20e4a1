//! How far simulations are.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counters that others may read while runs go on.
///
/// # Concurrency
///
/// Gauges, `Relaxed`, and not in step with each other.
#[derive(Debug, Default)]
pub struct RunProgress {
    /// Requests that came, of all runs.
    came: AtomicU64,
    /// Requests that are to come.
    expected: AtomicU64,
    /// Runs that are over.
    runs: AtomicU64,
}

/// What they say at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ProgressCounts {
    /// Requests that came, of all runs.
    pub came: u64,
    /// Requests of all runs that are known to be made.
    pub expected: u64,
    /// Runs that are over.
    pub runs: u64,
}

impl RunProgress {
    /// So many requests more are to come.
    pub(crate) fn expect(&self, requests: u64) {
        self.expected.fetch_add(requests, Ordering::Relaxed);
    }

    /// A request came.
    #[inline]
    pub(crate) fn come(&self) {
        self.came.fetch_add(1, Ordering::Relaxed);
    }

    /// A run is over, in which so many requests never came.
    pub(crate) fn end_run(&self, unasked: u64) {
        self.came.fetch_add(unasked, Ordering::Relaxed);
        self.runs.fetch_add(1, Ordering::Relaxed);
    }

    /// What they say now.
    pub fn counts(&self) -> ProgressCounts {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        ProgressCounts { came: read(&self.came), expected: read(&self.expected), runs: read(&self.runs) }
    }
}
