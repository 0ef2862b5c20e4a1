//! Makes an instance: its first calls, and the answer of `init`.

use std::sync::Arc;
use std::time::Duration;

use sgl_policy_abi::unpack;
use wasmtime::TypedFunc;

use crate::engine::compiled::Compiled;
use crate::engine::deadline::{Allowance, Budget, Deadline, Stack};
use crate::engine::error::CallError;
use crate::engine::exports::{InitFunc, Lookup};
use crate::engine::instance::{InputBuffer, Instance};
use crate::engine::lane::Lane;
use crate::engine::running::{explain, new_store, run, timed};
use crate::engine::sandbox::HostServices;

/// What `init` answered; empty if it takes no message.
#[derive(Debug)]
pub struct InitAnswer(pub Vec<u8>);

/// The step of making an instance that failed.
pub(crate) struct StepError {
    pub(crate) step: &'static str,
    pub(crate) error: CallError,
}

impl Instance {
    /// Makes a guest and runs `_initialize` and `init`, each under `budget`.
    ///
    /// `init_message` goes to an `init` that takes one; the host does `services` for the guest.
    pub(crate) async fn new(
        compiled: &Arc<Compiled>,
        services: Arc<dyn HostServices>,
        budget: Duration,
        init_message: &[u8],
    ) -> Result<(Self, InitAnswer), StepError> {
        let engine = &compiled.engine;
        let mark = engine.clock.register();
        let mut store =
            new_store(compiled, &mark, services).map_err(|error| StepError { step: "sandbox", error })?;
        engine.clock.begin(&mark);
        // Marked as in a call until it is made: the start function runs guest code.
        let allowance = Allowance::new(budget, &engine.clock);
        store.data_mut().deadline = Deadline::new(Stack::Fiber, Budget::start(&engine.clock, allowance));
        store.set_epoch_deadline(1);
        let made = compiled.pre.instantiate_async(&mut store);
        let made = timed(engine, &mark, budget, made).await;
        let guest =
            made.map_err(|error| StepError { step: "instantiate", error: explain(&store, &error) })?;
        let mut lookup = Lookup { places: &compiled.places, guest: &guest, store: &mut store };
        let at = |error| StepError { step: "exports", error };
        let exports = lookup.exports().map_err(at)?;
        let memory = lookup.memory().map_err(at)?;
        let mut instance = Self {
            store,
            memory,
            exports,
            input: InputBuffer::default(),
            mark,
            compiled: Arc::clone(compiled),
            told_version: 0,
            calls: 0,
            warm_bytes: 0,
        };
        instance.end();
        let answer = instance.initialize(&guest, allowance, init_message).await?;
        Ok((instance, answer))
    }

    async fn initialize(
        &mut self,
        guest: &wasmtime::Instance,
        allowance: Allowance,
        message: &[u8],
    ) -> Result<InitAnswer, StepError> {
        let at = |step| move |error| StepError { step, error };
        let compiled = Arc::clone(&self.compiled);
        let mut lookup = Lookup { places: &compiled.places, guest, store: &mut self.store };
        let reactor = lookup.initialize();
        let init = lookup.init().map_err(at("exports"))?;
        if let Some(reactor) = reactor {
            self.begin(Lane::Fiber, allowance);
            let done = run(&mut self.store, &self.compiled, &self.mark, &reactor, ()).await;
            self.end();
            done.map_err(at("_initialize"))?;
        }
        self.begin(Lane::Fiber, allowance);
        let answer = match init {
            InitFunc::Plain(init) => {
                let done = run(&mut self.store, &self.compiled, &self.mark, &init, ()).await;
                done.map(|()| Vec::new())
            }
            InitFunc::Answering(init) => self.init_with(&init, message).await,
        };
        self.end();
        answer.map(InitAnswer).map_err(at("init"))
    }

    async fn init_with(
        &mut self,
        init: &TypedFunc<(u32, u32), i64>,
        message: &[u8],
    ) -> Result<Vec<u8>, CallError> {
        let len = self.put_message(message).await?;
        let message = (self.input.pointer, len);
        let packed = run(&mut self.store, &self.compiled, &self.mark, init, message).await?;
        let (pointer, len) = unpack(packed);
        Ok(self.guest_bytes(pointer, len)?.to_vec())
    }
}
