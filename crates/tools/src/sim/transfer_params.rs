//! What requests to vLLM say of a KV cache at another worker.

use serde::Deserialize;

/// What a request says of a cache elsewhere. Others of the parameters are read over.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct TransferParams {
    /// The prompt's cache is to be kept for a decode worker.
    pub(crate) do_remote_decode: bool,
    /// The prompt's cache is at a prefill worker.
    pub(crate) do_remote_prefill: bool,
    /// The prefill worker that has it.
    pub(crate) remote_engine_id: Option<String>,
    /// Where it has it: of each group of layers, the blocks.
    remote_block_ids: Option<Vec<Vec<u64>>>,
}

impl TransferParams {
    /// Blocks of the first group of layers.
    pub(crate) fn block_count(&self) -> usize {
        self.remote_block_ids.as_ref().and_then(|groups| groups.first()).map_or(0, Vec::len)
    }

    /// The prefill worker that has the cache.
    pub(crate) fn source(&self) -> Option<&str> {
        self.remote_engine_id.as_deref().filter(|_| self.do_remote_prefill)
    }
}
