//! What an instance does before it serves.

use std::sync::Arc;

use crate::engine::error::CallError;
use crate::engine::exports::{Ask, Tell};
use crate::engine::sandbox::HostServices;
use crate::engine::trial::Trial;
use crate::policies::wasm::load::rehearsal::Rehearsal;
use crate::policies::wasm::message::wire_plan::WirePlan;
use crate::policies::wasm::state::kept::Kept;

/// A decision that nobody acts on, and what the guest may change at the host in it.
#[derive(Debug)]
pub(crate) struct WarmUp {
    /// A copy of counters and map: what the guest does to them while it warms up does not count. All
    /// instances share this one, whatever the earlier ones did to it, since nobody acts on their
    /// decisions.
    kept: Arc<Kept>,
    rehearsal: Rehearsal,
}

impl WarmUp {
    /// The warm-up of a generation that keeps `kept`.
    ///
    /// # Errors
    ///
    /// [`CallError::MessageTooLarge`] if a bound of a message is wrong.
    pub(crate) fn new(kept: &Kept, plan: &WirePlan) -> Result<Self, CallError> {
        Ok(Self { kept: kept.detached(), rehearsal: Rehearsal::new(plan)? })
    }

    /// Makes an instance decide.
    ///
    /// # Errors
    ///
    /// [`CallError`] of the guest; the instance is useless then.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future leaves a useless instance.
    pub(crate) async fn run(&self, trial: &mut Trial) -> Result<(), CallError> {
        let real = trial.swap_services(Arc::clone(&self.kept) as Arc<dyn HostServices>);
        trial.tell(Tell::Workers, &self.rehearsal.workers).await?;
        // Maps the pages that a decision needs.
        trial.ask(Ask::Select, &self.rehearsal.question, |_| ()).await?;
        trial.swap_services(real);
        Ok(())
    }
}
