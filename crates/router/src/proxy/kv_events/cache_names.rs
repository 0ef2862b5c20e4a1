//! How requests name what engines' caches hold.

use crate::proxy::kv_events::cache_event::StoredBlocks;
use sglang_router_rs::types::{PrefixBlocks, PrefixSeed, TokenChain};

/// How requests name what a worker's cache holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CacheNames {
    /// The names of its model; at least one, perhaps empty. Each takes memory of its own.
    pub(crate) models: Vec<String>,
    /// Whether a request names an adapter in place of the model, or beside it.
    pub(crate) adapter_is_model: bool,
}

impl CacheNames {
    /// Where a prompt begins whose first blocks these are, under a name of the model.
    pub(crate) fn start(&self, name: usize, told: &StoredBlocks, blocks: PrefixBlocks) -> Option<TokenChain> {
        let model = self.models.get(name)?;
        let (model, adapter) = match told.adapter.as_deref() {
            Some(adapter) if self.adapter_is_model => (adapter, ""),
            other => (model.as_str(), other.unwrap_or_default()),
        };
        let salt = told.salt.as_deref().unwrap_or_default();
        Some(TokenChain::new(blocks, &PrefixSeed { model, adapter, salt, preamble: 0 }))
    }
}

/// The engine's name of a block, as the index has it for the nth name of the model: each stands for a block of its own.
pub(crate) fn name_in_index(hash: u64, nth: u64) -> u64 {
    hash ^ nth.wrapping_mul(0x9e37_79b9_7f4a_7c15)
}
