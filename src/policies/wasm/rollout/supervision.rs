//! Watches a rollout until its phase is over.

use std::sync::Arc;
use std::time::Duration;

use crate::policies::wasm::rollout::active::Active;
use crate::policies::wasm::rollout::canary_verdict;
use crate::policies::wasm::rollout::canary_verdict::CanaryVerdict;
use crate::policies::wasm::rollout::event::Happened;
use crate::policies::wasm::rollout::phase::{Phase, UnderWay, Watch};
use crate::policies::wasm::rollout::wasm_policy::WasmPolicy;
use crate::policies::wasm::state::seen::Seen;
use crate::policies::wasm::state::stats::DecisionStats;

impl WasmPolicy {
    /// A generation has failed: ends its probation if that was one failure too many.
    #[cold]
    pub(crate) fn failed_on_watch(&self, failed: u64) {
        let reason = match &self.watch.lock().phase {
            Phase::Probation { options, generation, before, .. } if *generation == failed => {
                let Some(active) = self.active.load_full() else { return };
                let seen = since(&active.stable.stats, before);
                canary_verdict::probation(options, active.stable.options.may_refuse, &seen)
            }
            _ => None,
        };
        if let Some(reason) = reason {
            self.go_back(failed, &reason);
        }
    }

    /// Checks the rollout once in a `period` until its phase is over. A failure that ends a probation
    /// early starts a check by itself.
    pub(super) fn supervise(self: &Arc<Self>, under_way: UnderWay, period: Duration) {
        let plugin = Arc::downgrade(self);
        let UnderWay { epoch, mut over } = under_way;
        self.engine.background.handle().spawn(async move {
            loop {
                tokio::select! {
                    // Always an error: the phase drops the other end.
                    _ = &mut over => return,
                    () = tokio::time::sleep(period) => {}
                }
                let Some(plugin) = plugin.upgrade() else { return };
                if !plugin.look(epoch).await {
                    return;
                }
            }
        });
    }

    /// One check; false if the phase is over.
    async fn look(self: &Arc<Self>, epoch: u64) -> bool {
        let verdict = {
            let mut watch = self.watch.lock();
            if watch.epoch != epoch {
                return false;
            }
            let Some(active) = self.active.load_full() else { return false };
            match self.judge_phase(&mut watch, &active) {
                Some(verdict) => verdict,
                None => return false,
            }
        };
        match verdict {
            CanaryVerdict::Wait => true,
            CanaryVerdict::Promote => {
                if let Err(error) = self.promote().await {
                    tracing::warn!(plugin = self.name, %error, "the canary could not be promoted");
                }
                false
            }
            CanaryVerdict::RollBack(reason) => {
                self.drop_candidate(None, &reason);
                false
            }
        }
    }

    /// The verdict on the phase; `None` if the phase has ended.
    fn judge_phase(&self, watch: &mut Watch, active: &Arc<Active>) -> Option<CanaryVerdict> {
        match &watch.phase {
            Phase::Canary { options, since: began, stable_before } => {
                let canary = &active.canary.as_ref()?.generation;
                let stable = since(&active.stable.stats, stable_before);
                Some(canary_verdict::canary(options, began.elapsed(), &stable, &canary.stats.seen()))
            }
            Phase::Probation { options, since: began, .. } => {
                if began.elapsed() < Duration::from_secs(options.secs) {
                    return Some(CanaryVerdict::Wait);
                }
                let event = Happened::PassedProbation { generation: active.stable.id };
                watch.enter(Phase::Settled, event.into());
                self.switch(active, Active { previous: None, ..(**active).clone() });
                None
            }
            Phase::Settled | Phase::Shadow => None,
        }
    }
}

/// Counts since `before`. The p99 is over the generation's whole life.
fn since(stats: &DecisionStats, before: &Seen) -> Seen {
    let now = stats.seen();
    Seen {
        decisions: now.decisions.saturating_sub(before.decisions),
        failures: now.failures.saturating_sub(before.failures),
        held_back: now.held_back.saturating_sub(before.held_back),
        no_choice: now.no_choice.saturating_sub(before.no_choice),
        requests: now.requests.saturating_sub(before.requests),
        request_errors: now.request_errors.saturating_sub(before.request_errors),
        ..now
    }
}
