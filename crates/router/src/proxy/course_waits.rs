//! What a request waits for on its way to a worker, and how long it has.

use std::time::Duration;

use crate::proxy::hold_course::HoldCourse;
use crate::proxy::proxy_error::ProxyError;
use crate::proxy::worker_wait::WorkerWait;

/// What a request waits for, and has waited for.
#[derive(Debug)]
pub(crate) struct CourseWaits {
    /// Its place in the queue, if it waits for workers.
    pub(crate) workers: Option<WorkerWait>,
    /// Whether the policy has it wait.
    pub(crate) hold: HoldCourse,
    /// How long it has waited for what it waits for no longer.
    pub(crate) before: Duration,
}

impl CourseWaits {
    /// It has waited so long for its turn.
    pub(crate) fn new(before: Duration) -> Self {
        Self { workers: None, hold: HoldCourse::default(), before }
    }

    /// The request is placed, and waits no longer. How long it did, if it did.
    #[inline]
    pub(crate) fn placed(&mut self) -> Option<Duration> {
        let held = self.hold.placed();
        let workers = self.workers.take().map(|waiting| waiting.end(None));
        self.sum(held, workers)
    }

    /// The request ends with this error, and waits no longer. How long it did, if it did.
    pub(crate) fn give_up(&mut self, error: &ProxyError) -> Option<Duration> {
        let held = self.hold.give_up(error);
        let workers = self.workers.take().map(|waiting| waiting.end(Some(error)));
        self.sum(held, workers)
    }

    #[inline]
    fn sum(&mut self, held: Option<Duration>, workers: Option<Duration>) -> Option<Duration> {
        let before = std::mem::take(&mut self.before);
        let all = before + held.unwrap_or_default() + workers.unwrap_or_default();
        (!all.is_zero()).then_some(all)
    }
}
