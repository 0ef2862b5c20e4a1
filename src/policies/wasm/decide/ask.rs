//! How a plugin is asked: with its breaker, its canary, its counters and its fallback.

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;
use std::time::Instant;

use crate::config::plugin::FailurePolicy;
use crate::core::candidates::Candidates;
use crate::core::worker::WorkerRole;
use crate::engine::background;
use crate::policies::decision::Chooser;
use crate::policies::decision::DecideError;
use crate::policies::decision::FailureCause;
use crate::policies::info::SelectWorkerInfo;
use crate::policies::native::native_policy::NativePolicy;
use crate::policies::native::native_policy::with_role;
use crate::policies::wasm::decide::call;
use crate::policies::wasm::decide::call::Chosen;
use crate::policies::wasm::decide::call::Ended;
use crate::policies::wasm::decide::call::Mode;
use crate::policies::wasm::decide::call::ReadyCall;
use crate::policies::wasm::decide::call::Start;
use crate::policies::wasm::decide::failure::Failure;
use crate::policies::wasm::decide::question::One;
use crate::policies::wasm::decide::question::Pair;
use crate::policies::wasm::decide::question::Question;
use crate::policies::wasm::load::generation::Generation;
use crate::policies::wasm::message::draw::Draw;
use crate::policies::wasm::rollout::wasm_policy::WasmPolicy;
use crate::policies::wasm::state::breaker::Pass;
use crate::policies::wasm::state::stats::DecisionStats;
use sgl_policy_abi::Leg;

/// How often a decision is asked again because of something that was not its generation's fault:
/// it was found to return state, it was a canary that failed, or it was closed by a rollback.
const RETRIES: usize = 8;

/// Which generation is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Route {
    /// The one that the request belongs to.
    Own,
    /// The stable one, because the canary failed.
    Stable,
}

/// How far an attempt came without waiting.
pub(crate) enum Begun<T> {
    /// Not at all.
    Not,
    /// To its end.
    Over(Attempt<T>),
    /// Something has to be waited for, or it could not begin.
    Waits(Start),
}

/// What one attempt came to.
pub(crate) enum Attempt<T> {
    Chosen(Chosen<T>),
    /// To be asked again, by this route.
    Again(Route),
    Failed(Box<Failure>),
}

impl WasmPolicy {
    /// A pair: from `select_worker_pair` if the plugin has it, else from two selections.
    pub(crate) async fn ask_pair<C: Candidates + ?Sized>(
        &self,
        mode: Mode,
        workers: &C,
        info: &SelectWorkerInfo<'_>,
    ) -> Result<Chosen<(usize, usize)>, FailureCause> {
        let has_pair = self.in_use().as_ref().is_some_and(|active| active.pick(info).facts.has_pair);
        if has_pair {
            return self.ask::<Pair, _>(mode, workers, info).await;
        }
        let prefills = with_role(workers, info, WorkerRole::Prefill);
        let first = SelectWorkerInfo { leg: Leg::Prefill, eligible: Some(&prefills), ..*info };
        let first = self.ask::<One, _>(mode, workers, &first).await?;
        let decodes = with_role(workers, info, WorkerRole::Decode);
        let second = SelectWorkerInfo { leg: Leg::Decode, eligible: Some(&decodes), ..*info };
        if first.answer.is_none() {
            return Ok(Chosen { answer: None, generation: first.generation });
        }
        let second = self.ask::<One, _>(mode, workers, &second).await?;
        Ok(Chosen { answer: first.answer.zip(second.answer), generation: second.generation })
    }

    #[inline]
    pub(crate) fn blocking_one<C: Candidates + ?Sized>(
        &self,
        workers: &C,
        info: &SelectWorkerInfo<'_>,
    ) -> Result<Chosen<usize>, FailureCause> {
        match self.quick::<One, C>(Mode::Blocking, workers, info) {
            Ok(chosen) => Ok(chosen),
            Err(begun) => self.blocking_one_from(begun, workers, info),
        }
    }

    #[cold]
    fn blocking_one_from<C: Candidates + ?Sized>(
        &self,
        begun: Begun<usize>,
        workers: &C,
        info: &SelectWorkerInfo<'_>,
    ) -> Result<Chosen<usize>, FailureCause> {
        match self.host_deadline() {
            // A blocking call never waits in the sense of futures.
            None => background::ready(self.ask_from::<One, C>(begun, Mode::Blocking, workers, info)),
            Some(deadline) => {
                background::block_on(self.ask_from::<One, C>(begun, Mode::Async, workers, info), deadline)
            }
        }
        .unwrap_or(Err(FailureCause::Timeout))
    }

    pub(crate) fn blocking_pair<C: Candidates + ?Sized>(
        &self,
        workers: &C,
        info: &SelectWorkerInfo<'_>,
    ) -> Result<Chosen<(usize, usize)>, FailureCause> {
        match self.host_deadline() {
            None => background::ready(self.ask_pair(Mode::Blocking, workers, info)),
            Some(deadline) => background::block_on(self.ask_pair(Mode::Async, workers, info), deadline),
        }
        .unwrap_or(Err(FailureCause::Timeout))
    }

    /// Until when a blocking caller drives the future of a plugin that may wait for the host and
    /// so needs a fiber: a little longer than waiting and budget, so that the call itself reports its
    /// timeout. `None` if the plugin can run on the caller's stack.
    #[inline]
    fn host_deadline(&self) -> Option<Instant> {
        if !self.waits_for_host() {
            return None;
        }
        let active = self.in_use();
        let active = active.as_ref().filter(|active| active.waits_for_host())?;
        Some(Instant::now() + active.stable.wait + active.stable.budget + Duration::from_millis(100))
    }

    /// One decision of the plugin.
    #[inline]
    pub(crate) async fn ask<Q, C>(
        &self,
        mode: Mode,
        workers: &C,
        info: &SelectWorkerInfo<'_>,
    ) -> Result<Chosen<Q::Answer>, FailureCause>
    where
        Q: Question<Answer: Debug>,
        C: Candidates + ?Sized,
    {
        let begun = match self.quick::<Q, C>(mode, workers, info) {
            Ok(chosen) => return Ok(chosen),
            Err(Begun::Waits(Start::Ready(ready))) => match self.run::<Q, C>(ready, workers, info).await {
                Attempt::Chosen(chosen) => {
                    self.breaker().note_success();
                    return Ok(chosen);
                }
                outcome => Begun::Over(outcome),
            },
            Err(begun) => begun,
        };
        // Boxed: it is much larger than what most decisions need.
        Box::pin(self.ask_from::<Q, C>(begun, mode, workers, info)).await
    }

    /// Runs a guest that may yield, and ends its call.
    #[inline]
    async fn run<Q, C>(
        &self,
        mut ready: ReadyCall,
        workers: &C,
        info: &SelectWorkerInfo<'_>,
    ) -> Attempt<Q::Answer>
    where
        Q: Question<Answer: Debug>,
        C: Candidates + ?Sized,
    {
        let generation = ready.generation;
        let ended = if ready.must_end() {
            // Boxed, as others need nothing of it.
            Box::pin(self.run_to_its_end::<Q>(ready)).await
        } else {
            let reply = ready.run::<Q>().await;
            ready.over(reply)
        };
        let active = self.in_use();
        let own = active.as_ref().and_then(|active| active.find(generation));
        self.end::<Q, C>(ended, own, workers, info)
    }

    /// The usual decision, as far as nothing has to be waited for and all is well. A plain function:
    /// a future with all that may happen in it is moved and stored at a price that shows.
    #[inline]
    fn quick<Q, C>(
        &self,
        mode: Mode,
        workers: &C,
        info: &SelectWorkerInfo<'_>,
    ) -> Result<Chosen<Q::Answer>, Begun<Q::Answer>>
    where
        Q: Question<Answer: Debug>,
        C: Candidates + ?Sized,
    {
        let needs_fiber = mode == Mode::Blocking && self.waits_for_host();
        if needs_fiber || self.breaker().is_open() {
            return Err(Begun::Not);
        }
        let active = self.in_use();
        let Some(active) = active.as_ref().filter(|active| !active.paused && active.shadow.is_none()) else {
            return Err(Begun::Not);
        };
        match self.begin::<Q, C>(active.pick(info), mode, workers, info, Draw::Fresh) {
            Begun::Over(Attempt::Chosen(chosen)) => {
                self.breaker().note_success();
                Ok(chosen)
            }
            begun => Err(begun),
        }
    }

    /// Begins one run of a guest, and ends it if nothing has to be waited for. Under the guard of
    /// `active`, so that the generation need not be looked up again.
    #[inline(always)]
    fn begin<Q, C>(
        &self,
        generation: &Arc<Generation>,
        mode: Mode,
        workers: &C,
        info: &SelectWorkerInfo<'_>,
        draw: Draw,
    ) -> Begun<Q::Answer>
    where
        Q: Question<Answer: Debug>,
        C: Candidates + ?Sized,
    {
        match call::start(self.engine(), generation, mode, workers, info, draw) {
            Start::Ready(ready) if ready.is_immediate() => {
                Begun::Over(self.end::<Q, C>(ready.run_now::<Q>(), Some(generation), workers, info))
            }
            started => Begun::Waits(started),
        }
    }

    /// One decision of the plugin, the first attempt of which may have begun.
    async fn ask_from<Q, C>(
        &self,
        begun: Begun<Q::Answer>,
        mode: Mode,
        workers: &C,
        info: &SelectWorkerInfo<'_>,
    ) -> Result<Chosen<Q::Answer>, FailureCause>
    where
        Q: Question<Answer: Debug>,
        C: Candidates + ?Sized,
    {
        let Some(pass) = self.breaker().admit() else {
            self.state().count(None, |stats| stats.fail(FailureCause::BreakerOpen));
            return Err(FailureCause::BreakerOpen);
        };
        let mut outcome = match begun {
            Begun::Not => self.attempt::<Q, C>(mode, Route::Own, workers, info).await,
            Begun::Over(outcome) => outcome,
            Begun::Waits(started) => self.finish_attempt::<Q, C>(mode, started, workers, info).await,
        };
        let mut retries_left = RETRIES;
        loop {
            match outcome {
                Attempt::Chosen(chosen) => {
                    pass.succeed();
                    return Ok(chosen);
                }
                Attempt::Again(_) if retries_left == 0 => {
                    let failure = Failure::unavailable("its generation changed too often meanwhile");
                    return Err(self.fail(pass, &failure));
                }
                Attempt::Again(route) => {
                    retries_left -= 1;
                    outcome = self.attempt::<Q, C>(mode, route, workers, info).await;
                }
                Attempt::Failed(failure) => {
                    if let Some(explanation) = info.explanation {
                        explanation.fail(&failure.detail, failure.generation);
                    }
                    return Err(self.fail(pass, &failure));
                }
            }
        }
    }

    /// One run of a guest.
    #[inline]
    async fn attempt<Q, C>(
        &self,
        mode: Mode,
        route: Route,
        workers: &C,
        info: &SelectWorkerInfo<'_>,
    ) -> Attempt<Q::Answer>
    where
        Q: Question<Answer: Debug>,
        C: Candidates + ?Sized,
    {
        let mut copied = None;
        let active = self.in_use();
        let started = match active.as_ref() {
            Some(active) if !active.paused => {
                let draw = match &active.shadow {
                    None => Draw::Fresh,
                    Some(shadow) => {
                        let draw = Draw::shared();
                        let copy = if Q::CAN_BE_SHADOWED { shadow.copy(workers, info, draw) } else { None };
                        copied = copy.map(|copy| (Arc::clone(shadow), copy));
                        draw
                    }
                };
                let generation = if route == Route::Stable { &active.stable } else { active.pick(info) };
                self.begin::<Q, C>(generation, mode, workers, info, draw)
            }
            Some(_) => Begun::Waits(Start::Failed(Failure::unavailable("it is paused"))),
            None => Begun::Waits(Start::Failed(Failure::unavailable("it was unloaded"))),
        };
        // Not across an await.
        drop(active);
        let outcome = match started {
            Begun::Over(outcome) => outcome,
            Begun::Waits(started) => self.finish_attempt::<Q, C>(mode, started, workers, info).await,
            // `begin` does begin.
            Begun::Not => Attempt::Again(route),
        };
        if let (Some((shadow, copy)), Attempt::Chosen(chosen)) = (copied, &outcome) {
            shadow.show(copy, chosen.answer.and_then(Q::as_index));
        }
        outcome
    }

    #[inline]
    async fn finish_attempt<Q, C>(
        &self,
        mode: Mode,
        started: Start,
        workers: &C,
        info: &SelectWorkerInfo<'_>,
    ) -> Attempt<Q::Answer>
    where
        Q: Question<Answer: Debug>,
        C: Candidates + ?Sized,
    {
        let ready = match started {
            Start::Ready(ready) => ready,
            Start::Slow(slow) => {
                let generation = Arc::clone(&slow.generation);
                match call::start_slow(self.engine(), slow, mode, workers, info).await {
                    Ok(ready) => ready,
                    Err(error) => return self.judge(Failure::of_call(error, generation.id)),
                }
            }
            Start::Failed(failure) => return self.judge(failure),
        };
        self.run::<Q, C>(ready, workers, info).await
    }

    /// Puts the instance back, counts, and checks the answer. `own` is the generation of the call,
    /// if it is still in use.
    #[inline(always)]
    fn end<Q, C>(
        &self,
        ended: Result<Ended<Q::Answer>, Box<Failure>>,
        own: Option<&Arc<Generation>>,
        workers: &C,
        info: &SelectWorkerInfo<'_>,
    ) -> Attempt<Q::Answer>
    where
        Q: Question<Answer: Debug>,
        C: Candidates + ?Sized,
    {
        let ended = match ended {
            Ok(ended) => ended,
            Err(failure) => return self.judge(failure),
        };
        match own {
            Some(generation) => {
                if let Some(time) = generation.stats.end(ended.timer) {
                    generation.lane.timed(time);
                }
                if ended.overran {
                    generation.lane.took_long();
                }
            }
            None => self.end_elsewhere(ended.generation, ended.timer),
        }
        ended.lease.finish(own.map(|generation| &*generation.pool));
        if ended.lost_state {
            // The first state that a plugin returns is not kept, since other calls may have run
            // meanwhile; from now on its calls are serialised, and it is asked again.
            if let Some(generation) = own {
                generation.kept.expect_rows();
            }
            return Attempt::Again(Route::Own);
        }
        if let (Some(explanation), Some(more)) = (info.explanation, ended.more) {
            explanation.give(more.scores, more.reason);
        }
        match call::check::<Q, C>(ended.choice, ended.generation, workers, info) {
            Ok(chosen) => Attempt::Chosen(chosen),
            Err(failure) => self.judge_choice(failure, own),
        }
    }

    /// Whether a failure is to be put up with: a canary's is not, and neither is that of a
    /// generation which was taken out of use meanwhile. Both are counted, and the stable
    /// generation is asked.
    #[cold]
    pub(crate) fn judge<T>(&self, failure: Box<Failure>) -> Attempt<T> {
        let active = self.in_use();
        let Some(active) = active.as_ref() else { return Attempt::Failed(failure) };
        let Some(id) = failure.generation else { return Attempt::Failed(failure) };
        if failure.out_of_use {
            // By now another one is
            // stable, or the same again: nothing has failed yet.
            return Attempt::Again(Route::Stable);
        }
        if active.canary.as_ref().is_some_and(|canary| canary.generation.id == id) {
            self.note(&failure);
            if failure.cause == FailureCause::Timeout {
                self.lose(id);
            }
            return Attempt::Again(Route::Stable);
        }
        Attempt::Failed(failure)
    }

    /// Counts and logs a failure, and tells the rollout.
    #[cold]
    pub(crate) fn note(&self, failure: &Failure) {
        let cause = failure.cause;
        let count = self.state().count(failure.generation, |stats| stats.fail(cause));
        self.state().note_failure(failure.generation, cause, &failure.detail);
        let (plugin, generation) = (self.name(), failure.generation);
        // The 1st, 2nd, 4th, 8th … of a kind: seen at once, and no flood.
        if count.is_power_of_two() {
            tracing::warn!(plugin, generation, %cause, count, detail = failure.detail, "a decision failed");
        }
        let Some(generation) = generation else { return };
        if cause == FailureCause::Timeout && failure.counts {
            // The guest has spent its budget, perhaps on its caller's stack.
            if let Some(own) = self.in_use().as_ref().and_then(|active| active.find(generation)) {
                own.lane.took_long();
            }
        }
        self.failed_on_watch(generation);
    }

    /// The budget of the generation that serves.
    fn budget(&self) -> Duration {
        self.in_use().as_ref().map_or(Duration::ZERO, |active| active.stable.budget)
    }

    #[cold]
    fn fail(&self, pass: Pass<'_>, failure: &Failure) -> FailureCause {
        self.note(failure);
        let lost = if failure.cause == FailureCause::Timeout { self.budget() } else { Duration::ZERO };
        if failure.counts && pass.fail(lost) {
            let plugin = self.name();
            tracing::warn!(plugin, "the plugin keeps failing and is out of the path for a while");
        }
        failure.cause
    }

    /// What the failure policy makes of a failed decision.
    #[cold]
    pub(crate) fn fall_back<D>(
        &self,
        cause: FailureCause,
        decide: impl FnOnce(&NativePolicy, Chooser) -> Result<D, DecideError>,
    ) -> Result<D, DecideError> {
        let fallback = self.fallback();
        match fallback.on_failure {
            FailurePolicy::Reject => Err(DecideError::Rejected { cause }),
            FailurePolicy::Fallback => {
                self.state().count(None, DecisionStats::fall_back);
                decide(&fallback.policy, Chooser::Fallback { cause })
            }
        }
    }
}
