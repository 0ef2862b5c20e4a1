//! What an instance goes through before it serves.

use std::sync::Arc;

use crate::engine::error::CallError;
use crate::engine::exports::{Ask, Tell};
use crate::engine::sandbox::HostServices;
use crate::engine::trial::Trial;
use crate::policies::wasm::load::rehearsal::Rehearsal;
use crate::policies::wasm::message::wire_plan::WirePlan;
use crate::policies::wasm::state::kept::Kept;

/// A decision that nobody acts on, and what the guest may do to the host in it.
#[derive(Debug)]
pub(crate) struct WarmUp {
    /// What the guest does to counters and map while it warms up is nobody's business. One for all
    /// instances, whatever those before did to it: these are no decisions that anybody acts on.
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

    /// Lets an instance make the decision.
    ///
    /// # Errors
    ///
    /// [`CallError`] of the guest; the instance is of no use then.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future leaves an instance of no use.
    pub(crate) async fn run(&self, trial: &mut Trial) -> Result<(), CallError> {
        let real = trial.swap_services(Arc::clone(&self.kept) as Arc<dyn HostServices>);
        trial.tell(Tell::Workers, &self.rehearsal.workers).await?;
        // Maps the pages that a decision needs.
        trial.ask(Ask::Select, &self.rehearsal.question, |_| ()).await?;
        trial.swap_services(real);
        Ok(())
    }
}
