//! What a run is to do.

use std::time::Duration;

use crate::load::arrivals::Pace;
use crate::load::bodies::RequestShape;
use crate::load::target::LoadTarget;

/// A run: each round sends the same load to one target after the other.
#[derive(Clone, Debug)]
pub struct Plan {
    /// What is tested, at least one. In every other round the order is turned by one, so that
    /// none always goes first.
    pub targets: Vec<LoadTarget>,
    /// When requests are sent.
    pub pace: Pace,
    /// What is sent.
    pub shape: RequestShape,
    /// When a round ends.
    pub limits: RunLimits,
    /// Rounds, at least 1.
    pub rounds: u32,
    /// Seed of the arrivals. Round `n` has the same arrivals for every target.
    pub seed: u64,
    /// Swaps of a plugin while requests flow.
    pub swaps: Option<SwapPlan>,
}

/// When requests and rounds end.
#[derive(Clone, Copy, Debug)]
pub struct RunLimits {
    /// Time of one round of one target, without its warm-up. Without it, `requests` or the trace
    /// ends the round.
    pub duration: Option<Duration>,
    /// Requests of one round of one target, without its warm-up.
    pub requests: Option<u64>,
    /// Requests that are due in this time count nowhere.
    pub warmup: Duration,
    /// For one request, counted from when it is sent.
    pub timeout: Duration,
    /// For requests that are not answered when the round's time is over; then they count as
    /// unfinished.
    pub drain: Duration,
    /// Open loop: requests in flight at a time, at least 1. Others wait here, and the wait counts.
    pub max_in_flight: usize,
}

/// Swaps of a plugin.
#[derive(Clone, Debug)]
pub struct SwapPlan {
    /// From one swap to the next. A swap that takes longer delays the next.
    pub every: Duration,
    /// The one target that has swaps in its rounds; all if there is none.
    pub target: Option<String>,
    /// What marks call the modules, which take turns. At least one.
    pub modules: Vec<String>,
}

impl Plan {
    /// True if swaps belong to the rounds of this target.
    pub(crate) fn swaps_of(&self, target: &LoadTarget) -> Option<&SwapPlan> {
        let swaps = self.swaps.as_ref()?;
        swaps.target.as_deref().is_none_or(|name| name == target.name()).then_some(swaps)
    }
}
