//! What was counted of one generation up to a moment, to be judged.

use crate::policies::wasm::state::latency::LatencyCounts;

/// What was seen of one generation since it is watched.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Seen {
    pub(crate) decisions: u64,
    /// Failures of the guest, those to choose among them.
    pub(crate) failures: u64,
    /// How often it chose nobody although somebody could be chosen.
    pub(crate) no_choice: u64,
    /// Times of decisions, over the generation's whole life.
    pub(crate) latency: LatencyCounts,
    /// Finished requests that say something of the choice.
    pub(crate) requests: u64,
    pub(crate) request_errors: u64,
}
