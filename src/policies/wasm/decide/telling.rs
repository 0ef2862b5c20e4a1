//! Reports finished requests to a plugin, off the request path, and judges failures of that.

use std::sync::Arc;
use std::time::Duration;

use crate::engine::error::CallError;
use crate::engine::exports::Tell;
use crate::policies::wasm::load::generation::Generation;
use crate::policies::wasm::rollout::canary_verdict::LOST_TIME;
use crate::policies::wasm::rollout::wasm_policy::WasmPolicy;

/// How long finished requests are collected before the plugin is told.
const BATCH: Duration = Duration::from_millis(20);

impl WasmPolicy {
    /// Hands collected completions to the generation after a moment.
    pub(crate) fn schedule_completions(&self, generation: Arc<Generation>) {
        let plugin = self.downgrade();
        self.engine().background.handle().spawn(async move {
            tokio::time::sleep(BATCH).await;
            let Some(plugin) = plugin.upgrade() else { return };
            plugin.tell_completions(&generation).await;
        });
    }

    async fn tell_completions(&self, generation: &Arc<Generation>) {
        let Some(message) = generation.kept.completions.take_message() else { return };
        // A plugin out of the path is told nothing: its failures here may be why it is out.
        if self.breaker().is_open() {
            return;
        }
        if let Err(error) = tell(generation, &message).await {
            self.fail_completion(generation, &error);
        }
    }

    /// A failed batch counts like a failed decision: on probation, as a canary, and for the time it
    /// lost.
    fn fail_completion(&self, generation: &Generation, error: &CallError) {
        self.state().fail_completion(generation.id, error);
        if error.is_untouched() {
            return;
        }
        generation.stats.fail_batch();
        if matches!(error, CallError::Timeout { .. }) {
            self.lose(generation.id);
        }
        self.failed_on_watch(generation.id);
    }

    /// Counts a budget that a guest spent outside the decisions that fail: in a call nobody waits for,
    /// or as a canary, whose failures the stable generation makes up for.
    #[cold]
    pub(crate) fn lose(&self, generation: u64) {
        let active = self.in_use();
        let Some(active) = active.as_ref() else { return };
        // Time that a canary loses counts against the canary only.
        if let Some(canary) = active.canary.as_ref().filter(|canary| canary.generation.id == generation) {
            if canary.lost.lose(canary.generation.budget()) {
                self.drop_candidate(Some(generation), LOST_TIME);
            }
        } else if active.stable.id == generation && self.breaker().lose(active.stable.budget()) {
            let plugin = self.name();
            tracing::warn!(
                plugin,
                "the plugin spends too long beside its decisions and is out of the path for a while"
            );
        }
    }
}

async fn tell(generation: &Generation, message: &[u8]) -> Result<(), CallError> {
    let mut lease = generation.begin_call().await?;
    lease.tell_message(Tell::Complete, message).await?;
    lease.finish(Some(&generation.pool));
    Ok(())
}
