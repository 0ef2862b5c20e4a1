//! Swaps of a plugin while requests flow.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::task::JoinHandle;

use crate::load::plan::SwapPlan;
use crate::load::round::Round;

/// What comes of a swap: the number of the new generation, or why there is none.
pub type Swapping<'a> = Pin<Box<dyn Future<Output = Result<u64, String>> + Send + 'a>>;

/// Makes swaps. How a router is told is not the load generator's business.
pub trait Swapper: fmt::Debug + Send + Sync {
    /// Replaces the plugin by the module of this index in [`SwapPlan::modules`].
    fn swap(&self, module: usize) -> Swapping<'_>;
}

/// A swap that was tried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SwapMark {
    /// When it was asked for, from the end of the warm-up.
    pub at: Duration,
    /// Until the router said that it is done.
    pub took: Duration,
    /// Index of the module.
    pub module: usize,
    /// The generation that it made, or why it made none.
    pub result: Result<u64, String>,
}

/// The swaps of one round. Dropped, it asks for no more.
#[derive(Debug)]
pub(crate) struct Swaps {
    marks: Arc<Mutex<Vec<SwapMark>>>,
    task: JoinHandle<()>,
}

impl Swaps {
    /// Swaps from the end of the warm-up until nothing more may be sent.
    pub(crate) fn start(round: &Arc<Round>, plan: &SwapPlan, swapper: &Arc<dyn Swapper>) -> Self {
        let marks = Arc::default();
        let task = swap_on(Arc::clone(round), plan.clone(), Arc::clone(swapper), Arc::clone(&marks));
        Self { task: tokio::spawn(task), marks }
    }

    /// Waits until the swap that was asked for last is done, and gives all of them. An abort of
    /// the run does not wait: that swap has no mark then.
    pub(crate) async fn finish(mut self, round: &Round) -> Vec<SwapMark> {
        tokio::select! {
            // A panic of the task was reported when it happened.
            _ = &mut self.task => {}
            () = round.control.aborting().cancelled() => {}
        }
        std::mem::take(&mut *self.marks.lock())
    }
}

impl Drop for Swaps {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn swap_on(
    round: Arc<Round>,
    plan: SwapPlan,
    swapper: Arc<dyn Swapper>,
    marks: Arc<Mutex<Vec<SwapMark>>>,
) {
    let start = round.window.start;
    let mut next = start + plan.every;
    for module in (0..plan.modules.len()).cycle() {
        tokio::select! {
            biased;
            () = round.over.cancelled() => return,
            () = round.control.stopping().cancelled() => return,
            () = tokio::time::sleep_until(next.into()) => {}
        }
        let asked = Instant::now();
        let result = swapper.swap(module).await;
        let (at, took) = (asked.saturating_duration_since(start), asked.elapsed());
        round.control.swapped();
        marks.lock().push(SwapMark { at, took, module, result });
        // Swaps that were missed are not made up for.
        next = (next + plan.every).max(Instant::now());
    }
}
