//! Swapping, promoting, rolling back: every change of the generations in use.
//!
//! ```text
//!  load ─ immediate ─► stable, previous warm (probation) ─ time ─► settled
//!     │                      └─ too many failures ─► previous is stable again
//!     ├─ canary ─► share of decisions ─ bounds hold ─► immediate
//!     │                └─ a bound breaks ─► dropped
//!     └─ shadow ─► copies ─ promote by hand ─► immediate
//! ```

use std::sync::Arc;
use std::time::Duration;
use std::time::Instant;

use crate::config::rollout::CanaryOptions;
use crate::config::rollout::Rollout;
use crate::config::rollout::RolloutMode;
use crate::policies::wasm::load::error::PluginError;
use crate::policies::wasm::load::generation::Generation;
use crate::policies::wasm::rollout::active::Active;
use crate::policies::wasm::rollout::active::Canary;
use crate::policies::wasm::rollout::event::Displaced;
use crate::policies::wasm::rollout::event::Happened;
use crate::policies::wasm::rollout::event::PluginEvent;
use crate::policies::wasm::rollout::event::TakeOver;
use crate::policies::wasm::rollout::handover;
use crate::policies::wasm::rollout::operation_error::OperationError;
use crate::policies::wasm::rollout::phase::Phase;
use crate::policies::wasm::rollout::phase::UnderWay;
use crate::policies::wasm::rollout::phase::Watch;
use crate::policies::wasm::rollout::plugin::Fallback;
use crate::policies::wasm::rollout::plugin::WasmPolicy;
use crate::policies::wasm::rollout::shadow::Shadow;
use crate::policies::wasm::rollout::verdict;
use crate::policies::wasm::rollout::verdict::CanaryVerdict;
use crate::policies::wasm::state::kept::Saved;
use crate::policies::wasm::state::seen::Seen;
use crate::policies::wasm::state::stats::DecisionStats;

/// How often a canary is looked at. By a timer: what it is judged by is counted by decisions, and one
/// that had to compare the counts with bounds and wake somebody would pay for it.
const CANARY_PERIOD: Duration = Duration::from_millis(20);

/// Longest wait for the `state` of the row form before a generation takes over: calls hold it.
const SAVE_LIMIT: Duration = Duration::from_secs(1);

impl WasmPolicy {
    /// Brings a new generation into use, as its options say. Returns the canary or shadow that had to
    /// go for it.
    ///
    /// # Errors
    ///
    /// [`PluginError::HandOver`] if the guest's state could not be carried over; the old
    /// generation goes on with it.
    pub(crate) async fn install(
        self: &Arc<Self>,
        generation: Generation,
    ) -> Result<Option<u64>, PluginError> {
        let _operation = self.operation.lock().await;
        let rollout = generation.options.rollout;
        let generation = Arc::new(generation);
        match rollout {
            Rollout::Immediate => self.take_over(generation, TakeOver::Loaded).await,
            Rollout::Canary(options) => Ok(self.start_canary(generation, options)),
            Rollout::Shadow(options) => Ok(self.start_shadow(generation, options.every)),
        }
    }

    /// Makes a generation the stable one. The one before stays warm for the probation.
    /// Returns the candidate that had to go for it.
    async fn take_over(
        self: &Arc<Self>,
        next: Arc<Generation>,
        how: TakeOver,
    ) -> Result<Option<u64>, PluginError> {
        let Some(active) = self.active.load_full() else { return Err(PluginError::Unloaded) };
        let old = Arc::clone(&active.stable);
        let carry = old.can_hand_over_to(&next);
        // Callers of the new generation wait in its queue until it has the old one's memories.
        let held =
            if carry { Some(handover::hold(&next).await.map_err(PluginError::hand_over)?) } else { None };
        let event = Happened::TookOver { generation: next.id, how, warm: Some(old.id) };
        let saved = self.save(&old, &next).await;
        self.join(&active, &next).await;
        let displaced = self.make_stable(&next, Some((&old, saved)), event);
        let Some(lease) = held else { return Ok(displaced) };
        if let Err(error) = handover::carry(&self.engine, &old, &next, lease).await {
            let reason = error.to_string();
            let event = Happened::RolledBack { generation: next.id, to: None, reason };
            old.wake();
            self.make_stable(&old, None, event);
            // Its waiting callers are sent away and ask the old one.
            next.pool.close();
            return Err(PluginError::hand_over(error));
        }
        Ok(displaced)
    }

    /// Map and state of the old generation, if the next one may be rolled back to it.
    async fn save(&self, old: &Generation, next: &Generation) -> Option<Saved> {
        if next.options.probation.secs == 0 {
            return None;
        }
        tokio::select! {
            biased;
            saved = old.kept.save() => Some(saved),
            () = self.engine.background.sleep(SAVE_LIMIT) => None,
        }
    }

    /// A candidate that is promoted becomes the plugin's, with what it keeps.
    async fn join(&self, active: &Active, next: &Generation) {
        if active.canary.as_ref().is_some_and(|canary| canary.generation.id == next.id) {
            next.kept.join_as_canary(&active.stable.kept);
        }
        let Some(shadow) = active.shadow.as_ref().filter(|shadow| shadow.generation.id == next.id) else {
            return;
        };
        // What it is at must not write to what is the plugin's from now on.
        shadow.stop();
        tokio::select! {
            () = shadow.ended() => {}
            () = self.engine.background.sleep(SAVE_LIMIT) => {}
        }
        next.kept.join_as_shadow(&active.stable.kept);
    }

    /// The one place where the stable generation changes.
    fn make_stable(
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
        let phase = if keep.is_some() {
            let (since, generation, before) = (Instant::now(), next.id, next.stats.seen());
            Phase::Probation { options: probation, since, generation, before, saved: saved.flatten() }
        } else {
            Phase::Settled
        };
        tracing::info!(plugin = self.name, event = event.to_string(), "swap");
        watch.swaps += 1;
        let under_way = watch.enter(phase, event);
        self.breaker.reset(next.options.breaker);
        self.fallback.store(Fallback::of(next));
        self.state.serve(&next.kept);
        let paused = active.paused;
        self.switch(&active, Active { previous: keep.cloned(), paused, ..Active::only(Arc::clone(next)) });
        drop(watch);
        if keep.is_some() {
            self.supervise(under_way, Duration::from_secs(probation.secs));
        }
        displaced.map(|candidate| candidate.generation)
    }

    /// A candidate that is under way has to go for `next`, unless it is that: counts and logs it.
    fn displace(&self, watch: &mut Watch, active: &Active, next: u64) -> Option<Displaced> {
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

    fn start_canary(self: &Arc<Self>, generation: Arc<Generation>, options: CanaryOptions) -> Option<u64> {
        let mut watch = self.watch.lock();
        let active = self.active.load_full()?;
        let what = Happened::CanaryStarted { generation: generation.id, percent: options.percent };
        let displaced = self.displace(&mut watch, &active, generation.id);
        let event = PluginEvent { what, displaced };
        tracing::info!(plugin = self.name, event = event.to_string(), "canary");
        let stable_before = active.stable.stats.seen();
        let under_way = watch.enter(Phase::Canary { options, since: Instant::now(), stable_before }, event);
        let canary = Some(Canary::new(generation, options.percent));
        self.switch(&active, Active { canary, shadow: None, previous: None, ..(*active).clone() });
        drop(watch);
        self.supervise(under_way, CANARY_PERIOD);
        displaced.map(|candidate| candidate.generation)
    }

    fn start_shadow(self: &Arc<Self>, generation: Arc<Generation>, every: u32) -> Option<u64> {
        let mut watch = self.watch.lock();
        let active = self.active.load_full()?;
        let what = Happened::ShadowStarted { generation: generation.id, every };
        let displaced = self.displace(&mut watch, &active, generation.id);
        let event = PluginEvent { what, displaced };
        tracing::info!(plugin = self.name, event = event.to_string(), "shadow");
        watch.enter(Phase::Shadow, event);
        let (plugin, id) = (Arc::downgrade(self), generation.id);
        let shadow = Arc::new(Shadow::new(generation, every));
        shadow.start(&self.engine, move |reason| {
            if let Some(plugin) = plugin.upgrade() {
                plugin.drop_candidate(Some(id), reason);
            }
        });
        let shadow = Some(shadow);
        self.switch(&active, Active { shadow, canary: None, previous: None, ..(*active).clone() });
        displaced.map(|candidate| candidate.generation)
    }

    /// Puts `next` in place of `before`, and watches those that go out of use drain.
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

    /// Makes the canary or the shadow the stable generation.
    ///
    /// # Errors
    ///
    /// [`OperationError::NothingToPromote`], or what [`install`](Self::install) may fail with.
    pub(crate) async fn promote(self: &Arc<Self>) -> Result<u64, OperationError> {
        let _operation = self.operation.lock().await;
        let active = self.active.load_full().ok_or(OperationError::NotFound { name: self.name.clone() })?;
        let candidate = active.canary.as_ref().map(|canary| Arc::clone(&canary.generation));
        let candidate =
            candidate.or_else(|| active.shadow.as_ref().map(|shadow| Arc::clone(&shadow.generation)));
        let next = candidate.ok_or_else(|| OperationError::NothingToPromote { name: self.name.clone() })?;
        let id = next.id;
        self.take_over(next, TakeOver::Promoted).await?;
        Ok(id)
    }

    /// Drops the canary or the shadow; else goes back to the previous generation while it is warm.
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
        let nothing = || OperationError::NothingToRollBack { name: self.name.clone() };
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

    /// Ends a canary or a shadow; if `only` says which one, no other.
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

    /// Makes the previous generation the stable one again, if `failing` is still stable. At once:
    /// nothing is compiled or made.
    fn go_back(&self, failing: u64, reason: &str) {
        let mut watch = self.watch.lock();
        let Some(active) = self.active.load_full().filter(|active| active.stable.id == failing) else {
            return;
        };
        let Some(previous) = active.previous.clone() else { return };
        // Its memories are those that it had handed over: the failing one's are not to be trusted.
        drop(previous.wake());
        let (to, reason) = (Some(previous.id), reason.to_owned());
        let event = Happened::RolledBack { generation: failing, to, reason };
        tracing::warn!(plugin = self.name, event = event.to_string(), "rollback");
        watch.swaps += 1;
        watch.rollbacks += 1;
        let before = std::mem::take(&mut watch.phase);
        watch.enter(Phase::Settled, event.into());
        self.breaker.reset(previous.options.breaker);
        self.fallback.store(Fallback::of(&previous));
        self.state.serve(&previous.kept);
        self.switch(&active, Active { paused: active.paused, ..Active::only(Arc::clone(&previous)) });
        if let Phase::Probation { saved: Some(saved), .. } = before {
            // What the failing one has left there is not to be trusted either.
            self.engine.background.handle().spawn(previous.kept.restore(saved));
        }
    }

    /// A failure of a generation: the end of its probation, if it was one too many.
    #[cold]
    pub(crate) fn failed_on_watch(&self, failed: u64) {
        let reason = match &self.watch.lock().phase {
            Phase::Probation { options, generation, before, .. } if *generation == failed => {
                let Some(active) = self.active.load_full() else { return };
                let seen = since(&active.stable.stats, before);
                verdict::probation(options, active.stable.options.may_refuse, &seen)
            }
            _ => None,
        };
        if let Some(reason) = reason {
            self.go_back(failed, &reason);
        }
    }

    /// Looks at the rollout once in a `period` until its phase is over. What ends a probation early is
    /// a failure, which looks by itself.
    fn supervise(self: &Arc<Self>, under_way: UnderWay, period: Duration) {
        let plugin = Arc::downgrade(self);
        let UnderWay { epoch, mut over } = under_way;
        self.engine.background.handle().spawn(async move {
            loop {
                tokio::select! {
                    // Always an error: the other end goes with the phase.
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

    /// One look; false if the phase is over.
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

    /// What the phase has come to; `None` if it has ended.
    fn judge_phase(&self, watch: &mut Watch, active: &Arc<Active>) -> Option<CanaryVerdict> {
        match &watch.phase {
            Phase::Canary { options, since: began, stable_before } => {
                let canary = &active.canary.as_ref()?.generation;
                let stable = since(&active.stable.stats, stable_before);
                Some(verdict::canary(options, began.elapsed(), &stable, &canary.stats.seen()))
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

/// What was counted since `before`. The p99 is over the generation's whole life.
fn since(stats: &DecisionStats, before: &Seen) -> Seen {
    let now = stats.seen();
    Seen {
        decisions: now.decisions.saturating_sub(before.decisions),
        failures: now.failures.saturating_sub(before.failures),
        no_choice: now.no_choice.saturating_sub(before.no_choice),
        requests: now.requests.saturating_sub(before.requests),
        request_errors: now.request_errors.saturating_sub(before.request_errors),
        ..now
    }
}
