//! Going back: drops a candidate, or makes the previous generation stable again.

use std::sync::Arc;

use crate::policies::wasm::rollout::active::Active;
use crate::policies::wasm::rollout::event::{Happened, TakeOver};
use crate::policies::wasm::rollout::operation_error::OperationError;
use crate::policies::wasm::rollout::phase::Phase;
use crate::policies::wasm::rollout::wasm_policy::WasmPolicy;

impl WasmPolicy {
    /// Drops the canary or the shadow, or goes back to the previous generation while it is warm.
    ///
    /// # Errors
    ///
    /// [`OperationError::NothingToRollBack`].
    pub(crate) async fn roll_back(self: &Arc<Self>, reason: &str) -> Result<u64, OperationError> {
        let _operation = self.operation.lock().await;
        let active = self.active.load_full().ok_or(OperationError::NotFound { name: self.name.clone() })?;
        if active.canary.is_some() || active.shadow.is_some() {
            self.drop_candidate(None, reason);
            return Ok(active.stable.id);
        }
        let nothing = || {
            let former = self.watch.lock().former.clone();
            OperationError::NothingToRollBack { name: self.name.clone(), former }
        };
        let previous = active.previous.clone().ok_or_else(nothing)?;
        let id = previous.id;
        if active.stable.can_hand_over_to(&previous) {
            self.watch.lock().rollbacks += 1;
            self.take_over(previous, TakeOver::Back { reason: reason.to_owned() }).await?;
        } else {
            self.go_back(active.stable.id, reason);
        }
        Ok(id)
    }

    /// Ends a canary or a shadow; with `only`, only the one of that number.
    pub(crate) fn drop_candidate(&self, only: Option<u64>, reason: &str) {
        let mut watch = self.watch.lock();
        let Some(active) = self.active.load_full() else { return };
        let canary = active.canary.as_ref().map(|canary| canary.generation.id);
        let id = canary.or_else(|| active.shadow.as_ref().map(|shadow| shadow.generation.id));
        let Some(id) = id.filter(|id| only.is_none_or(|only| only == *id)) else { return };
        let event = Happened::RolledBack { generation: id, to: None, reason: reason.to_owned() };
        tracing::warn!(plugin = self.name, event = event.to_string(), "rollback");
        watch.rollbacks += 1;
        watch.enter(Phase::Settled, event.into());
        self.switch(&active, Active { canary: None, shadow: None, ..(*active).clone() });
    }

    /// Makes the previous generation stable again if `failing` is still stable. Takes effect at once:
    /// nothing is compiled or made.
    pub(super) fn go_back(&self, failing: u64, reason: &str) {
        let mut watch = self.watch.lock();
        let Some(active) = self.active.load_full().filter(|active| active.stable.id == failing) else {
            return;
        };
        let Some(previous) = active.previous.clone() else { return };
        // It goes on with the memory that it handed over: the failing one's is not to be trusted.
        drop(previous.wake());
        let (to, reason) = (Some(previous.id), reason.to_owned());
        let event = Happened::RolledBack { generation: failing, to, reason };
        tracing::warn!(plugin = self.name, event = event.to_string(), "rollback");
        watch.swaps += 1;
        watch.rollbacks += 1;
        let before = std::mem::take(&mut watch.phase);
        watch.former = None;
        watch.enter(Phase::Settled, event.into());
        self.serve(&previous);
        self.switch(&active, Active { paused: active.paused, ..Active::only(Arc::clone(&previous)) });
        if let Phase::Probation { saved: Some(saved), .. } = before {
            // What the failing one changed there is not to be trusted either.
            self.engine.background.handle().spawn(previous.kept.restore(saved));
        }
    }
}
