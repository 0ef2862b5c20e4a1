//! A request that an engine processes.

use crate::engine::decode_batch::BatchedSequence;

/// A request that an engine processes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct EngineSequence {
    /// Its number in the workload.
    pub(crate) request: u32,
    /// When it came to the engine.
    pub(crate) since: f64,
    /// How many were admitted before it.
    pub(crate) admitted: u64,
    /// Tokens that are processed before it decodes: its prompt, and what it had generated before it was
    /// preempted.
    pub(crate) target: u32,
    /// Those that are processed, or were in the cache.
    pub(crate) computed: u32,
    /// Those that were in the cache.
    pub(crate) cached: u32,
    /// Tokens that it had generated before it joined the batch.
    pub(crate) generated: u32,
    /// Units of its prompt that it shares with others, from the first on.
    pub(crate) shared: u32,
    /// Blocks of its own, but for those that it needed while it decoded.
    pub(crate) own: u32,
    /// What is known of it while it decodes.
    pub(crate) batched: Option<BatchedSequence>,
}

/// A part of a prompt that is in a step.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Chunk {
    /// Whose.
    pub(crate) sequence: u32,
    pub(crate) tokens: u32,
}

/// Counts that are far below its limit, in their narrow form.
pub(crate) fn saturated(count: u64) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}
