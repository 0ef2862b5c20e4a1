//! An instance outside any pool, to warm it or to try it before its generation serves.

use std::sync::Arc;
use std::time::Duration;

use crate::engine::capacity::Reservation;
use crate::engine::compiled::Compiled;
use crate::engine::deadline::Allowance;
use crate::engine::error::{CallError, EngineError};
use crate::engine::exports::{Ask, Tell};
use crate::engine::instance::Instance;
use crate::engine::lane::Lane;
use crate::engine::making::{InitAnswer, StepError};
use crate::engine::sandbox::HostServices;

/// An instance that serves nobody yet. Every call has the whole budget.
#[derive(Debug)]
pub struct Trial {
    instance: Instance,
    budget: Duration,
    /// Room in the engine, if no pool has reserved it.
    _room: Option<Reservation>,
}

impl Trial {
    pub(crate) fn new(instance: Instance, budget: Duration) -> Self {
        Self { instance, budget, _room: None }
    }

    /// Makes an instance to try and drop; the host does `services` for it, so that a trial leaves no
    /// trace in the plugin's own.
    ///
    /// # Errors
    ///
    /// [`EngineError::Capacity`] if the engine is full, [`EngineError::FirstInstance`] if the
    /// instance could not be made.
    pub async fn start(
        compiled: &Arc<Compiled>,
        services: Arc<dyn HostServices>,
        budget: Duration,
        init_message: &[u8],
    ) -> Result<(Self, InitAnswer), EngineError> {
        let room = compiled.engine.capacity.reserve(1, compiled.max_instance_bytes())?;
        let made = Instance::new(compiled, services, budget, init_message).await;
        let (instance, answer) =
            made.map_err(|StepError { step, error }| EngineError::FirstInstance { step, source: error })?;
        Ok((Self { instance, budget, _room: Some(room) }, answer))
    }

    pub(crate) fn into_instance(self) -> Instance {
        self.instance
    }

    /// The instance.
    pub fn instance(&self) -> &Instance {
        &self.instance
    }

    /// Lets the host do other `services` from here on; returns the earlier ones.
    pub(crate) fn swap_services(&mut self, services: Arc<dyn HostServices>) -> Arc<dyn HostServices> {
        self.instance.swap_services(services)
    }

    /// Sends a message to an export without an answer; does nothing if there is no such export.
    ///
    /// # Errors
    ///
    /// [`CallError`] says what went wrong; the instance is useless then.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future, of this method or of `ask`, leaves a useless instance.
    pub async fn tell(&mut self, tell: Tell, message: &[u8]) -> Result<(), CallError> {
        self.begin();
        self.instance.tell_message(tell, message).await?;
        self.instance.end();
        Ok(())
    }

    /// Sends a message and lets `read` read the answer.
    ///
    /// # Errors
    ///
    /// As [`tell`](Self::tell).
    pub async fn ask<R>(
        &mut self,
        ask: Ask,
        message: &[u8],
        read: impl FnOnce(&[u8]) -> R,
    ) -> Result<R, CallError> {
        self.begin();
        let answer = self.instance.ask_message(ask, message, read).await?;
        self.instance.end();
        Ok(answer)
    }

    fn begin(&mut self) {
        let allowance = Allowance::new(self.budget, &self.instance.compiled.engine.clock);
        self.instance.begin(Lane::Fiber, allowance);
    }
}
