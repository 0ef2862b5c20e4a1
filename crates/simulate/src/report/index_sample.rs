//! How large the router's prefix index was at moments of a run.

use serde::Serialize;

use sglang_router_rs::prefix_index::PrefixIndexStats;

/// Moments of a run at which the index is looked at.
pub(crate) const SAMPLES: u32 = 64;

/// What the index had at a moment.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct IndexSample {
    /// Seconds of the run.
    pub at: f64,
    /// Bytes that it took.
    pub bytes: usize,
    /// Blocks of all workers that it knew.
    pub blocks: usize,
}

impl IndexSample {
    pub(crate) fn of(at: f64, stats: &PrefixIndexStats) -> Self {
        Self { at, bytes: stats.bytes, blocks: stats.sent_blocks + stats.reported_blocks }
    }
}
