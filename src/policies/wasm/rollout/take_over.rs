//! Makes a generation the stable one, and moves the memory that goes with that.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::config::rollout::RolloutMode;
use crate::policies::wasm::load::error::PluginError;
use crate::policies::wasm::load::generation::Generation;
use crate::policies::wasm::rollout::active::Active;
use crate::policies::wasm::rollout::event::{Displaced, Happened, PluginEvent, TakeOver};
use crate::policies::wasm::rollout::handover;
use crate::policies::wasm::rollout::operation_error::FormerModule;
use crate::policies::wasm::rollout::phase::{Phase, Watch};
use crate::policies::wasm::rollout::wasm_policy::WasmPolicy;
use crate::policies::wasm::state::kept::Saved;

/// Longest wait for the `state` of the row form before a generation takes over: calls hold it.
const SAVE_LIMIT: Duration = Duration::from_secs(1);

impl WasmPolicy {
    /// Makes a generation the stable one. The previous one stays warm for the probation. Returns the
    /// candidate that it displaced.
    pub(super) async fn take_over(
        self: &Arc<Self>,
        next: Arc<Generation>,
        how: TakeOver,
    ) -> Result<Option<u64>, PluginError> {
        let Some(active) = self.active.load_full() else { return Err(PluginError::Unloaded) };
        let old = Arc::clone(&active.stable);
        let carry = old.can_hand_over_to(&next);
        // Callers of the new generation wait in its queue until it has the old one's memory.
        let held =
            if carry { Some(handover::hold(&next).await.map_err(PluginError::hand_over)?) } else { None };
        let event = Happened::TookOver { generation: next.id, how, warm: Some(old.id) };
        let saved = self.save(&old, &next).await;
        self.join(&active, &next).await;
        let displaced = self.make_stable(&next, Some((&old, saved)), event);
        let Some(lease) = held else { return Ok(displaced) };
        if let Err(error) = handover::carry(&old, &next, lease).await {
            let reason = error.to_string();
            let event = Happened::RolledBack { generation: next.id, to: None, reason };
            old.wake();
            self.make_stable(&old, None, event);
            // Its waiting callers are turned away and ask the old one.
            next.pool.close();
            return Err(PluginError::hand_over(error));
        }
        Ok(displaced)
    }

    /// Map and state of the old generation, if the next one may be rolled back.
    pub(super) async fn save(&self, old: &Generation, next: &Generation) -> Option<Saved> {
        if next.options.probation.secs == 0 {
            return None;
        }
        tokio::select! {
            biased;
            saved = old.kept.save() => Some(saved),
            () = self.engine.background.sleep(SAVE_LIMIT) => None,
        }
    }

    /// A promoted candidate's share of what is kept becomes the plugin's.
    pub(super) async fn join(&self, active: &Active, next: &Generation) {
        if active.canary.as_ref().is_some_and(|canary| canary.generation.id == next.id) {
            next.kept.join_as_canary(&active.stable.kept);
        }
        let Some(shadow) = active.shadow.as_ref().filter(|shadow| shadow.generation.id == next.id) else {
            return;
        };
        // Its present comparison must not write to what is the plugin's from now on.
        shadow.stop();
        tokio::select! {
            () = shadow.ended() => {}
            () = self.engine.background.sleep(SAVE_LIMIT) => {}
        }
        next.kept.join_as_shadow(&active.stable.kept);
    }

    /// The only place where the stable generation changes.
    pub(super) fn make_stable(
        self: &Arc<Self>,
        next: &Arc<Generation>,
        previous: Option<(&Arc<Generation>, Option<Saved>)>,
        what: Happened,
    ) -> Option<u64> {
        let probation = next.options.probation;
        let (keep, saved) = previous.filter(|_| probation.secs > 0).unzip();
        let mut watch = self.watch.lock();
        let active = self.active.load_full()?;
        let displaced = self.displace(&mut watch, &active, next.id);
        let event = PluginEvent { what, displaced };
        let stable = &active.stable;
        let former =
            || FormerModule { path: stable.config.module_path.clone(), digest: stable.digest.clone() };
        watch.former = (!event.is_rollback()).then(former);
        let phase = if keep.is_some() {
            let (since, generation, before) = (Instant::now(), next.id, next.stats.seen());
            Phase::Probation { options: probation, since, generation, before, saved: saved.flatten() }
        } else {
            Phase::Settled
        };
        tracing::info!(plugin = self.name, event = event.to_string(), "swap");
        watch.swaps += 1;
        let under_way = watch.enter(phase, event);
        self.serve(next);
        let paused = active.paused;
        self.switch(&active, Active { previous: keep.cloned(), paused, ..Active::only(Arc::clone(next)) });
        drop(watch);
        if keep.is_some() {
            self.supervise(under_way, Duration::from_secs(probation.secs));
        }
        displaced.map(|candidate| candidate.generation)
    }

    /// The candidate on trial that has to go for `next`, unless it is `next`: counts and logs it.
    pub(super) fn displace(&self, watch: &mut Watch, active: &Active, next: u64) -> Option<Displaced> {
        let canary = active.canary.as_ref().map(|canary| (canary.generation.id, RolloutMode::Canary));
        let shadow = || active.shadow.as_ref().map(|shadow| (shadow.generation.id, RolloutMode::Shadow));
        let (id, mode) = canary.or_else(shadow).filter(|(id, _)| *id != next)?;
        tracing::warn!(
            plugin = self.name,
            generation = id,
            by = next,
            "a load ended the {mode} that was under way"
        );
        watch.rollbacks += 1;
        Some(Displaced { generation: id, mode })
    }

    /// Replaces `before` with `next`, and watches those that go out of use drain.
    pub(crate) fn switch(&self, before: &Active, next: Active) {
        let next = Arc::new(next);
        self.activate(Some(Arc::clone(&next)));
        for generation in before.generations() {
            let stays = next.generations().any(|kept| kept.id == generation.id);
            if !stays {
                if before.canary.as_ref().is_some_and(|canary| canary.generation.id == generation.id) {
                    self.state.note_dropped(generation.id);
                }
                self.watch_drain(generation);
            }
        }
    }
}
