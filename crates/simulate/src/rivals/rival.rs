//! What a policy of another router is asked and told.

use std::fmt;

/// What one of the workers that may be chosen looks like to another router.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct SeenWorker {
    /// Its number.
    pub(crate) worker: usize,
    /// Requests in flight there.
    pub(crate) requests: u32,
    /// Tokens that its cache holds at most.
    pub(crate) kv_tokens: u32,
    /// Tokens of this prompt that are in its cache now; 0 for a policy without KV events.
    pub(crate) held: u32,
    /// Requests that wait in it, as of the last look.
    pub(crate) waiting: u32,
    /// The share of its cache that is in use, as of the last look.
    pub(crate) kv_usage: f64,
}

/// A request that needs a worker.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RivalAsk<'a> {
    /// Its name in all that is told of it later.
    pub(crate) tag: u64,
    /// Tokens of its prompt.
    pub(crate) tokens: u32,
    /// A hash for each whole block of its prompt, equal as far as prompts are.
    pub(crate) blocks: &'a [u64],
    /// Tokens of a block.
    pub(crate) block_tokens: u32,
    /// Who may be chosen.
    pub(crate) workers: &'a [SeenWorker],
}

impl RivalAsk<'_> {
    /// Tokens in so many blocks.
    pub(crate) fn tokens_of(&self, blocks: usize) -> u32 {
        u32::try_from(blocks).unwrap_or(u32::MAX).saturating_mul(self.block_tokens).min(self.tokens)
    }

    /// Tokens of the prompt that a worker's cache does not hold, where it is one that may be chosen.
    pub(crate) fn uncached_at(&self, worker: usize) -> Option<f64> {
        self.workers.iter().find(|seen| seen.worker == worker).map(|seen| self.uncached(seen))
    }

    /// Tokens of the prompt that the cache of this worker does not hold.
    pub(crate) fn uncached(&self, seen: &SeenWorker) -> f64 {
        f64::from(self.tokens.saturating_sub(seen.held))
    }

    /// The share of the prompt's whole blocks that these tokens are; 0 if it has none.
    pub(crate) fn share_of(&self, tokens: u32) -> f64 {
        let whole = self.tokens_of(self.blocks.len());
        if whole == 0 { 0.0 } else { f64::from(tokens.min(whole)) / f64::from(whole) }
    }
}

/// What a policy looks at in engines, besides requests.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct EngineSight {
    /// What of prompts is in their caches: their router listens to KV events.
    pub(crate) caches: bool,
    /// Seconds between two looks at their load; `None` = it does not look.
    pub(crate) loads: Option<f64>,
}

/// A policy of another router.
pub(crate) trait Rival: fmt::Debug + Send {
    /// What it looks at in engines. Default: nothing.
    fn sight(&self) -> EngineSight {
        EngineSight::default()
    }

    /// The worker for a request, which then goes there.
    fn choose(&mut self, ask: &RivalAsk<'_>) -> Option<usize>;

    /// The first token of a request came, so many seconds after it was sent. Default: ignored.
    fn first_token(&mut self, _tag: u64, _after: f64) {}

    /// A request has its last token. Default: ignored.
    fn finished(&mut self, _tag: u64) {}
}
