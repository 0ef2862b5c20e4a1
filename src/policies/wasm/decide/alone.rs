//! Calls that outlive their caller, or their generation.

use std::time::Instant;

use crate::engine::error::CallError;
use crate::policies::decision::FailureCause;
use crate::policies::wasm::decide::call::GuestCall;
use crate::policies::wasm::decide::outliving::Outliving;
use crate::policies::wasm::decide::question::Question;
use crate::policies::wasm::message::reply::Reply;
use crate::policies::wasm::rollout::wasm_policy::WasmPolicy;

impl WasmPolicy {
    /// Runs a guest whose memory must not be lost if its caller goes away.
    ///
    /// # Cancel safety
    ///
    /// The call goes on in the background; nobody hears its answer.
    pub(crate) async fn run_to_its_end<Q: Question>(
        &self,
        mut call: GuestCall,
    ) -> (GuestCall, Result<Reply<Q::Answer>, CallError>) {
        let plugin = self.downgrade();
        let work = Box::pin(async move {
            let reply = call.run::<Q>().await;
            (call, reply)
        });
        let alone = move |(call, reply)| {
            if let Some(plugin) = plugin.upgrade() {
                plugin.end_alone(call, reply);
            }
        };
        Outliving::new(self.engine(), work, alone).await
    }

    /// Returns the instance, or counts the failure.
    fn end_alone<T>(&self, mut call: GuestCall, reply: Result<Reply<T>, CallError>) {
        match reply {
            Ok(mut reply) => {
                call.loses_state(&mut reply);
                self.end_elsewhere(call.generation, call.timer);
                call.finish(None);
            }
            Err(error) => {
                let failure = call.fail(error);
                self.note(&failure);
                if let (FailureCause::Timeout, Some(generation)) = (failure.cause, failure.generation) {
                    self.lose(generation);
                }
            }
        }
    }

    /// Counts the time of a decision whose generation may have been replaced meanwhile.
    #[cold]
    pub(crate) fn end_elsewhere(&self, generation: u64, timer: Option<Instant>) {
        if timer.is_some() {
            self.state().count(Some(generation), |stats| {
                stats.end(timer);
                0
            });
        }
    }
}
