//! What tools for authors look at beside a decision: the question as the guest gets it, and its memory.

use std::sync::Arc;

use crate::core::candidate_workers::SliceCandidates;
use crate::core::worker::Worker;
use crate::policies::select_worker_info::SelectWorkerInfo;
use crate::policies::wasm::message::draw::Draw;
use crate::policies::wasm::message::owned::owned;
use crate::policies::wasm::rollout::wasm_policy::WasmPolicy;

impl WasmPolicy {
    /// The message of a decision as the generation that serves would get it now, without the state that a
    /// plugin of rows returned. `None` once the plugin is unloaded.
    pub fn question(&self, workers: &[Arc<dyn Worker>], info: &SelectWorkerInfo<'_>) -> Option<Vec<u8>> {
        let generation = self.generation()?;
        let candidates = SliceCandidates::new(self.slices().version(workers), workers);
        let capacity = generation.plan.bound(&candidates, info, &[]);
        owned(capacity, |buffer| generation.plan.encode(buffer, &candidates, info, &[], Draw::Fresh))
    }

    /// Bytes of linear memory that an instance of the generation that serves has, one that is idle. `None` if
    /// there is none.
    pub fn instance_memory_bytes(&self) -> Option<usize> {
        let mut lease = self.generation()?.pool.try_acquire()?;
        Some(lease.instance().memory_bytes())
    }
}
