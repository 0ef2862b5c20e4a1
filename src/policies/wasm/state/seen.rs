//! Counts of one generation up to a moment, for a verdict.

use crate::policies::wasm::state::latency::LatencyCounts;

/// Counts of one generation since its watch began.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Seen {
    pub(crate) decisions: u64,
    /// Failures of the guest, `no_choice` and sheds included.
    pub(crate) failures: u64,
    /// How often it chose nobody although somebody could be chosen.
    pub(crate) no_choice: u64,
    /// How often it refused a request, or had it wait until it may wait no longer.
    pub(crate) held_back: u64,
    /// Times of decisions, over the generation's whole life.
    pub(crate) latency: LatencyCounts,
    /// Finished requests that say something about the choice.
    pub(crate) requests: u64,
    pub(crate) request_errors: u64,
}
