//! How a run is watched and ended from outside.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

/// A handle on a run. Clones are handles on the same run.
///
/// # Concurrency
///
/// Counters are gauges for a progress line: `Relaxed`, and not in step with each other.
#[derive(Clone, Debug, Default)]
pub struct RunControl {
    stop: CancellationToken,
    abort: CancellationToken,
    live: Arc<Live>,
}

#[derive(Debug, Default)]
struct Live {
    ok: AtomicU64,
    failed: AtomicU64,
    started: AtomicU64,
    swaps: AtomicU64,
    stage: Mutex<RunStage>,
}

/// Where a run is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RunStage {
    /// The round, from 1; 0 before the first.
    pub round: u32,
    /// Rounds in all.
    pub rounds: u32,
    /// The target's name.
    pub target: String,
}

/// Counts of the whole run so far, warm-ups included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Answered requests.
    pub ok: u64,
    /// Failed requests.
    pub failed: u64,
    /// Requests that were taken up and are not over.
    pub in_flight: u64,
    /// Swaps that were made.
    pub swaps: u64,
}

impl RunControl {
    /// Ends the run early: nothing more is sent, requests in flight are waited for. What was
    /// measured is reported.
    pub fn stop(&self) {
        self.stop.cancel();
    }

    /// Ends the run now: as [`stop`](Self::stop), but requests in flight are cut off.
    pub fn abort(&self) {
        self.stop.cancel();
        self.abort.cancel();
    }

    /// True after [`stop`](Self::stop).
    pub fn is_stopped(&self) -> bool {
        self.stop.is_cancelled()
    }

    /// Where the run is.
    pub fn stage(&self) -> RunStage {
        self.live.stage.lock().clone()
    }

    /// Counts so far.
    pub fn counts(&self) -> Counts {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let (ok, failed) = (load(&self.live.ok), load(&self.live.failed));
        let in_flight = load(&self.live.started).saturating_sub(ok + failed);
        Counts { ok, failed, in_flight, swaps: load(&self.live.swaps) }
    }

    pub(crate) fn stopping(&self) -> &CancellationToken {
        &self.stop
    }

    pub(crate) fn aborting(&self) -> &CancellationToken {
        &self.abort
    }

    pub(crate) fn enter(&self, stage: RunStage) {
        *self.live.stage.lock() = stage;
    }

    pub(crate) fn request_started(&self) {
        self.live.started.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn request_ended(&self, ok: bool) {
        let counter = if ok { &self.live.ok } else { &self.live.failed };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn swapped(&self) {
        self.live.swaps.fetch_add(1, Ordering::Relaxed);
    }
}
