//! Calls that end when nobody waits for them any more, or when their generation is gone.

use std::time::Instant;

use crate::policies::decision::FailureCause;
use crate::policies::wasm::decide::call::Ended;
use crate::policies::wasm::decide::call::ReadyCall;
use crate::policies::wasm::decide::failure::Failure;
use crate::policies::wasm::decide::outliving::Outliving;
use crate::policies::wasm::decide::question::Question;
use crate::policies::wasm::rollout::wasm_policy::WasmPolicy;

impl WasmPolicy {
    /// Runs a guest whose memory must not be lost if its caller goes away.
    ///
    /// # Cancel safety
    ///
    /// The call goes on in the background; nobody hears its answer.
    pub(crate) async fn run_to_its_end<Q: Question>(
        &self,
        mut ready: ReadyCall,
    ) -> Result<Ended<Q::Answer>, Box<Failure>> {
        let plugin = self.downgrade();
        let call = Box::pin(async move {
            let reply = ready.run::<Q>().await;
            ready.over(reply)
        });
        let alone = move |ended| {
            if let Some(plugin) = plugin.upgrade() {
                plugin.end_alone(ended);
            }
        };
        Outliving::new(self.engine(), call, alone).await
    }

    /// Its instance goes back, or what it failed at is counted.
    fn end_alone<T>(&self, ended: Result<Ended<T>, Box<Failure>>) {
        match ended {
            Ok(ended) => {
                self.end_elsewhere(ended.generation, ended.timer);
                ended.lease.finish(None);
            }
            Err(failure) => {
                self.note(&failure);
                if let (FailureCause::Timeout, Some(generation)) = (failure.cause, failure.generation) {
                    self.lose(generation);
                }
            }
        }
    }

    /// The time of a decision whose generation may have been replaced meanwhile.
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
