//! Out of service and back: pausing, unloading, and watching drains.

use std::sync::{Arc, Weak};
use std::time::Duration;

use crate::engine::pool::Pool;
use crate::policies::wasm::load::generation::Generation;
use crate::policies::wasm::rollout::active::Active;
use crate::policies::wasm::rollout::event::{Happened, TakeOver};
use crate::policies::wasm::rollout::operation_error::OperationError;
use crate::policies::wasm::rollout::phase::Phase;
use crate::policies::wasm::rollout::wasm_policy::WasmPolicy;

impl WasmPolicy {
    /// Takes the plugin out of the path, or puts it back; the failure policy decides meanwhile.
    ///
    /// # Errors
    ///
    /// [`OperationError::NotFound`] if it was unloaded.
    pub(crate) fn set_paused(&self, paused: bool) -> Result<(), OperationError> {
        let mut watch = self.watch.lock();
        let active = self.active.load_full().ok_or(OperationError::NotFound { name: self.name.clone() })?;
        if active.paused != paused {
            watch.last_event = Some(if paused { Happened::Paused } else { Happened::Resumed }.into());
            self.switch(&active, Active { paused, ..(*active).clone() });
        }
        Ok(())
    }

    /// Takes the plugin out of service: from now on its failure policy decides.
    pub(crate) fn retire(&self) {
        let mut watch = self.watch.lock();
        watch.enter(Phase::Settled, Happened::Unloaded.into());
        let before = self.activate(None);
        for generation in before.iter().flat_map(|active| active.generations()) {
            self.watch_drain(generation);
        }
    }

    /// Puts an unloaded plugin back into service, with its first generation.
    pub(crate) fn revive(&self, generation: Generation) {
        let mut watch = self.watch.lock();
        let event = Happened::TookOver { generation: generation.id, how: TakeOver::Loaded, warm: None };
        watch.enter(Phase::Settled, event.into());
        self.serve(&generation);
        self.activate(Some(Arc::new(Active::only(Arc::new(generation)))));
    }

    /// Measures how long a generation takes to drain, and reports one that calls hold for too long.
    pub(crate) fn watch_drain(&self, generation: &Arc<Generation>) {
        let (id, pool) = (generation.id, Arc::downgrade(&generation.pool));
        let limit = Duration::from_secs(generation.options.drain_report_secs);
        let (state, plugin) = (Arc::clone(&self.state), self.name.clone());
        let gone = state.begin_drain(id);
        self.engine.background.handle().spawn(async move {
            tokio::select! {
                // Always an error: the generation drops the other end.
                _ = gone => return,
                () = tokio::time::sleep(limit) => {}
            }
            let Some(held) = held_calls(&pool) else { return };
            state.count_overdue();
            tracing::warn!(plugin, generation = id, held, "a replaced generation does not drain");
        });
    }
}

/// Calls that hold a pool; `None` if it is gone.
fn held_calls(pool: &Weak<Pool>) -> Option<usize> {
    let counts = pool.upgrade()?.counts();
    Some(counts.live.saturating_sub(counts.idle))
}
