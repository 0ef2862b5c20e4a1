//! How a plugin is asked: with its breaker, its canary, its counters and its fallback.

use std::sync::Arc;
use std::time::{Duration, Instant};

use sgl_policy_abi::Leg;

use crate::core::candidate_workers::CandidateWorkers;
use crate::engine::background;
use crate::engine::error::CallError;
use crate::engine::lane::Lane;
use crate::policies::decision::{FailureCause, Placed};
use crate::policies::native::native_policy::with_role;
use crate::policies::select_worker_info::SelectWorkerInfo;
use crate::policies::wasm::decide::call;
use crate::policies::wasm::decide::call::{AskedGeneration, Attempt, Begun, Chosen, GuestCall, Mode};
use crate::policies::wasm::decide::failure::Failure;
use crate::policies::wasm::decide::question::{One, Pair, Question};
use crate::policies::wasm::decide::undecided::Undecided;
use crate::policies::wasm::load::generation::Generation;
use crate::policies::wasm::message::draw::Draw;
use crate::policies::wasm::message::reply::Reply;
use crate::policies::wasm::rollout::wasm_policy::WasmPolicy;
use sgl_policy_abi::WorkerRole;

/// How often a decision is asked again when its generation is not to blame: it turned out to return
/// state, it was a canary that failed, or a rollback closed it.
const RETRIES: usize = 8;

impl WasmPolicy {
    /// A pair: from `select_worker_pair` if the plugin has it, else from two selections.
    pub(crate) async fn ask_pair<C: CandidateWorkers>(
        &self,
        mode: Mode,
        workers: &C,
        info: &SelectWorkerInfo<'_>,
    ) -> Result<Chosen<(Placed, Placed)>, Undecided> {
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
    pub(crate) fn blocking_one<C: CandidateWorkers>(
        &self,
        workers: &C,
        info: &SelectWorkerInfo<'_>,
    ) -> Result<Chosen<Placed>, Undecided> {
        match self.quick::<One, C>(Mode::Blocking, workers, info) {
            Ok(chosen) => Ok(chosen),
            Err(begun) => self.blocking_one_from(begun, workers, info),
        }
    }

    #[cold]
    fn blocking_one_from<C: CandidateWorkers>(
        &self,
        begun: Begun<Placed>,
        workers: &C,
        info: &SelectWorkerInfo<'_>,
    ) -> Result<Chosen<Placed>, Undecided> {
        match self.host_deadline() {
            // The future of a blocking call is ready at its first poll.
            None => background::ready(self.ask_from::<One, C>(begun, Mode::Blocking, workers, info)),
            Some(deadline) => {
                background::block_on(self.ask_from::<One, C>(begun, Mode::Async, workers, info), deadline)
            }
        }
        .unwrap_or_else(|| Err(FailureCause::Timeout.into()))
    }

    pub(crate) fn blocking_pair<C: CandidateWorkers>(
        &self,
        workers: &C,
        info: &SelectWorkerInfo<'_>,
    ) -> Result<Chosen<(Placed, Placed)>, Undecided> {
        match self.host_deadline() {
            None => background::ready(self.ask_pair(Mode::Blocking, workers, info)),
            Some(deadline) => background::block_on(self.ask_pair(Mode::Async, workers, info), deadline),
        }
        .unwrap_or_else(|| Err(FailureCause::Timeout.into()))
    }

    /// How long a blocking caller drives the future of a plugin that may wait for the host and so needs
    /// a fiber: waiting and budget and a little more, so that the call itself reports its timeout.
    /// `None` if the plugin can run on the caller's stack.
    #[inline]
    fn host_deadline(&self) -> Option<Instant> {
        if !self.waits_for_host() {
            return None;
        }
        let active = self.in_use();
        let active = active.as_ref().filter(|active| active.waits_for_host())?;
        Some(Instant::now() + active.stable.wait + active.stable.budget() + Duration::from_millis(100))
    }

    /// One decision of the plugin.
    #[inline]
    pub(crate) async fn ask<Q: Question, C: CandidateWorkers>(
        &self,
        mode: Mode,
        workers: &C,
        info: &SelectWorkerInfo<'_>,
    ) -> Result<Chosen<Q::Answer>, Undecided> {
        let begun = match self.quick::<Q, C>(mode, workers, info) {
            Ok(chosen) => return Ok(chosen),
            Err(Begun::Ready(call)) => match self.run::<Q, C>(call, workers, info).await {
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
    async fn run<Q: Question, C: CandidateWorkers>(
        &self,
        mut call: GuestCall,
        workers: &C,
        info: &SelectWorkerInfo<'_>,
    ) -> Attempt<Q::Answer> {
        let (call, reply) = if call.must_end() {
            // Boxed: other calls need no room for it.
            Box::pin(self.run_to_its_end::<Q>(call)).await
        } else {
            let reply = call.run::<Q>().await;
            (call, reply)
        };
        let active = self.in_use();
        let own = active.as_ref().and_then(|active| active.find(call.generation));
        let lane = call.lane();
        self.end::<Q, C>(call, lane, reply, own, workers, info)
    }

    /// The usual decision, if nothing waits and nothing fails. A plain function: a future that covers
    /// every case takes measurable time to move and store.
    #[inline]
    fn quick<Q: Question, C: CandidateWorkers>(
        &self,
        mode: Mode,
        workers: &C,
        info: &SelectWorkerInfo<'_>,
    ) -> Result<Chosen<Q::Answer>, Begun<Q::Answer>> {
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

    /// Begins one run of a guest, and ends it unless something must wait. Holds the guard of `active`,
    /// so that the generation is looked up only once.
    #[inline(always)]
    fn begin<Q: Question, C: CandidateWorkers>(
        &self,
        generation: &Arc<Generation>,
        mode: Mode,
        workers: &C,
        info: &SelectWorkerInfo<'_>,
        draw: Draw,
    ) -> Begun<Q::Answer> {
        // The lane is handed on and not asked of the call: a blocking caller's is known to the compiler,
        // which leaves out what only the other lanes need.
        let lane = call::lane(generation, mode);
        match call::begin(generation, lane, workers, info, draw) {
            Begun::Ready(mut call) if lane != Lane::Fiber => {
                let reply = call.run_now::<Q>();
                Begun::Over(self.end::<Q, C>(call, lane, reply, Some(generation), workers, info))
            }
            Begun::Over(Attempt::Failed(failure)) => Begun::Over(self.judge(failure)),
            begun => begun,
        }
    }

    /// One decision of the plugin; its first attempt may have begun already.
    async fn ask_from<Q: Question, C: CandidateWorkers>(
        &self,
        begun: Begun<Q::Answer>,
        mode: Mode,
        workers: &C,
        info: &SelectWorkerInfo<'_>,
    ) -> Result<Chosen<Q::Answer>, Undecided> {
        let Some(pass) = self.breaker().admit() else {
            self.state().count(None, |stats| stats.fail(FailureCause::BreakerOpen));
            return Err(FailureCause::BreakerOpen.into());
        };
        let mut outcome = match begun {
            Begun::Not => self.attempt::<Q, C>(mode, AskedGeneration::Own, workers, info).await,
            begun => self.finish::<Q, C>(mode, begun, workers, info).await,
        };
        let (mut retries_left, mut asked, mut gone) = (RETRIES, AskedGeneration::Own, None);
        loop {
            match outcome {
                Attempt::Chosen(chosen) => {
                    pass.succeed();
                    return Ok(chosen);
                }
                Attempt::Again(_) if retries_left == 0 => {
                    let failure = Failure::unavailable("its generation changed too often meanwhile");
                    return Err(self.fail(pass, &failure).into());
                }
                // The same choice again, though the plugin was shown the workers anew, is its own fault; so
                // is one after another that cannot be made.
                Attempt::Gone(failure) if retries_left == 0 || gone.as_ref() == Some(&failure.detail) => {
                    gone = None;
                    outcome = self.judge(failure);
                }
                Attempt::Gone(failure) => {
                    retries_left -= 1;
                    gone = Some(failure.detail);
                    outcome = self.attempt::<Q, C>(mode, asked, workers, info).await;
                }
                Attempt::Again(again) => {
                    retries_left -= 1;
                    asked = again;
                    outcome = self.attempt::<Q, C>(mode, asked, workers, info).await;
                }
                Attempt::Failed(failure) => {
                    if let Some(explanation) = info.explanation {
                        explanation.fail(&failure.detail, failure.generation);
                    }
                    return Err(self.fail(pass, &failure).into());
                }
                Attempt::PutOff(told) => {
                    pass.succeed();
                    return Err(Undecided::PutOff(told));
                }
            }
        }
    }

    /// One run of a guest.
    #[inline]
    async fn attempt<Q: Question, C: CandidateWorkers>(
        &self,
        mode: Mode,
        asked: AskedGeneration,
        workers: &C,
        info: &SelectWorkerInfo<'_>,
    ) -> Attempt<Q::Answer> {
        let mut copied = None;
        let active = self.in_use();
        let begun = match active.as_ref() {
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
                let generation =
                    if asked == AskedGeneration::Stable { &active.stable } else { active.pick(info) };
                self.begin::<Q, C>(generation, mode, workers, info, draw)
            }
            Some(_) => Begun::Over(Attempt::Failed(Failure::unavailable("it is paused"))),
            None => Begun::Over(Attempt::Failed(Failure::unavailable("it was unloaded"))),
        };
        // The guard must not live across an await.
        drop(active);
        let outcome = self.finish::<Q, C>(mode, begun, workers, info).await;
        if let (Some((shadow, copy)), Attempt::Chosen(chosen)) = (copied, &outcome) {
            shadow.show(copy, chosen.answer.and_then(Q::as_index));
        }
        outcome
    }

    /// Finishes an attempt that has begun.
    #[inline]
    async fn finish<Q: Question, C: CandidateWorkers>(
        &self,
        mode: Mode,
        begun: Begun<Q::Answer>,
        workers: &C,
        info: &SelectWorkerInfo<'_>,
    ) -> Attempt<Q::Answer> {
        let call = match begun {
            Begun::Not => return Attempt::Again(AskedGeneration::Own),
            Begun::Over(outcome) => return outcome,
            Begun::Ready(call) => call,
            Begun::Waits(waiting) => match waiting.begin(mode, workers, info).await {
                Ok(call) => call,
                Err(failure) => return self.judge(failure),
            },
        };
        self.run::<Q, C>(call, workers, info).await
    }

    /// Puts the instance back, counts, and checks the answer. `own` is the generation of the call,
    /// if it is still in use.
    #[inline(always)]
    fn end<Q: Question, C: CandidateWorkers>(
        &self,
        mut call: GuestCall,
        lane: Lane,
        reply: Result<Reply<Q::Answer>, CallError>,
        own: Option<&Arc<Generation>>,
        workers: &C,
        info: &SelectWorkerInfo<'_>,
    ) -> Attempt<Q::Answer> {
        let mut reply = match reply {
            Ok(reply) => reply,
            Err(error) => return self.judge(call.fail(error)),
        };
        let lost_state = call.loses_state(&mut reply);
        match own {
            Some(generation) => {
                if let Some(time) = generation.stats.end(call.timer) {
                    generation.lane.timed(time);
                }
                if call.overran(lane) {
                    generation.lane.took_long();
                }
            }
            None => self.end_elsewhere(call.generation, call.timer),
        }
        let id = call.generation;
        call.finish(own.map(|generation| &*generation.pool));
        if lost_state {
            // The first state that a plugin returns is not kept, since other calls may have run
            // meanwhile; from now on its calls are serialised, and it is asked again.
            if let Some(generation) = own {
                generation.kept.expect_rows();
            }
            return Attempt::Again(AskedGeneration::Own);
        }
        if let (Some(explanation), Some(more)) = (info.explanation, reply.more) {
            explanation.give(more.scores, more.reason);
        }
        match call::check::<Q, C>(reply.choice, id, workers, info) {
            Ok(chosen) => Attempt::Chosen(chosen),
            Err(failure) if failure.may_be_gone => Attempt::Gone(failure),
            Err(failure) => self.judge_choice(failure, own),
        }
    }
}
