//! A plugin: a name, its state, and the generation that serves.

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;
use std::time::Instant;

use arc_swap::ArcSwap;
use arc_swap::ArcSwapOption;

use crate::config::plugin::FailurePolicy;
use crate::core::candidates::Candidates;
use crate::core::candidates::SliceCandidates;
use crate::core::slice_versions::SliceVersions;
use crate::core::table::WorkerTable;
use crate::core::worker::Worker;
use crate::core::worker::WorkerRole;
use crate::engine::background;
use crate::engine::instance::Budget;
use crate::engine::instance::Lane;
use crate::engine::instance::Tell;
use crate::engine::setup::Engine;
use crate::policies::decision::Chooser;
use crate::policies::decision::DecideError;
use crate::policies::decision::Decision;
use crate::policies::decision::FailureCause;
use crate::policies::decision::PairDecision;
use crate::policies::info::Leg;
use crate::policies::info::RequestNeeds;
use crate::policies::info::SelectWorkerInfo;
use crate::policies::native::native_policy::NativePolicy;
use crate::policies::native::native_policy::fleet_decision;
use crate::policies::native::native_policy::slice_decision;
use crate::policies::native::native_policy::with_role;
use crate::policies::policy::LoadBalancingPolicy;
use crate::policies::policy::RequestCompletion;
use crate::policies::wasm::breaker::Admission;
use crate::policies::wasm::breaker::Breaker;
use crate::policies::wasm::call;
use crate::policies::wasm::call::Chosen;
use crate::policies::wasm::call::Mode;
use crate::policies::wasm::call::Start;
use crate::policies::wasm::call::Surroundings;
use crate::policies::wasm::completions::Completions;
use crate::policies::wasm::failure::Failure;
use crate::policies::wasm::generation::Generation;
use crate::policies::wasm::question::One;
use crate::policies::wasm::question::Pair;
use crate::policies::wasm::question::Question;
use crate::policies::wasm::state::PluginState;
use crate::policies::wasm::stats::DecisionStats;
use crate::policies::wasm::stats::PluginStats;
use crate::types::future::BoxFuture;

/// How long finished requests are collected before the plugin is told.
const COMPLETION_BATCH: Duration = Duration::from_millis(20);

/// How often a decision is asked again because its generation was found to return state: once for
/// the generation that it started on, and for those that replace it meanwhile.
const STATE_RETRIES: usize = 3;

/// A policy that is a plugin. Replacing its generation does not disturb its users.
///
/// # Concurrency
///
/// A decision takes its instance under the guard of `active` and drops the guard before the guest
/// runs; the instance keeps its generation's pool alive. Nothing on the way is locked or counted
/// on a shared cache line.
#[derive(Debug)]
pub struct WasmPolicy {
    name: String,
    engine: Arc<Engine>,
    /// `None` once unloaded.
    active: ArcSwapOption<Generation>,
    fallback: ArcSwap<Fallback>,
    breaker: Breaker,
    slices: SliceVersions,
    pub(crate) state: Arc<PluginState>,
    stats: DecisionStats,
    completions: Arc<Completions>,
}

/// What happens when the plugin fails.
#[derive(Debug)]
struct Fallback {
    policy: NativePolicy,
    on_failure: FailurePolicy,
}

impl Fallback {
    fn of(generation: &Generation) -> Arc<Self> {
        // The validator has checked the name; a policy without state is the last resort.
        let policy = NativePolicy::by_name(&generation.options.fallback).unwrap_or_default();
        Arc::new(Self { policy, on_failure: generation.options.on_failure })
    }
}

impl WasmPolicy {
    pub(crate) fn new(
        name: &str,
        engine: &Arc<Engine>,
        state: Arc<PluginState>,
        generation: Generation,
    ) -> Self {
        Self {
            name: name.to_owned(),
            engine: Arc::clone(engine),
            fallback: ArcSwap::new(Fallback::of(&generation)),
            breaker: Breaker::new(generation.options.breaker),
            active: ArcSwapOption::from_pointee(generation),
            slices: SliceVersions::default(),
            state,
            stats: DecisionStats::default(),
            completions: Arc::default(),
        }
    }

    /// Puts a new generation in place of the old one. Calls in flight finish on the old one.
    pub(crate) fn replace(&self, generation: Generation) {
        self.breaker.reset(generation.options.breaker);
        if generation.plan.is_rows() && self.state.has_rows() {
            // What earlier generations returned is sent from the first call on, whether or not
            // the self-test returned any.
            generation.mark_stateful();
        }
        self.fallback.store(Fallback::of(&generation));
        // The old generation closes its pool when its last user lets go.
        self.active.store(Some(Arc::new(generation)));
    }

    /// Takes the plugin out of service: from now on its failure policy decides.
    pub(crate) fn retire(&self) {
        self.active.store(None);
    }

    /// The generation that serves; `None` once unloaded.
    pub(crate) fn generation(&self) -> Option<Arc<Generation>> {
        self.active.load_full()
    }

    /// What is known of the plugin, for metrics and listings.
    pub fn stats(&self) -> PluginStats {
        let generation = self.active.load_full();
        PluginStats {
            name: self.name.clone(),
            generation: generation.as_ref().map_or(0, |generation| generation.id),
            live_generations: self.state.live_generations(),
            decisions: self.stats.decisions(),
            fallbacks: self.stats.fallbacks(),
            failures: self.stats.failures(),
            latency: self.stats.latency(),
            pool: generation.map(|generation| generation.pool.counts()).unwrap_or_default(),
            breaker_open: self.breaker.is_open(),
            log_suppressed: self.state.log_suppressed(),
        }
    }

    /// A decision over the router's own table, without blocking and without a boxed future.
    ///
    /// # Errors
    ///
    /// [`DecideError`] says why there is no decision.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future at any point leaks nothing and counts nothing in flight.
    #[inline]
    pub async fn decide_async(
        &self,
        table: &WorkerTable,
        info: &SelectWorkerInfo<'_>,
    ) -> Result<Decision, DecideError> {
        match self.ask::<One, _>(Mode::Async, table, info).await {
            Ok(Chosen { answer: Some(index), generation }) => {
                fleet_decision(table, index, Chooser::Plugin { generation })
            }
            Ok(Chosen { answer: None, .. }) => Err(DecideError::NoWorker),
            Err(cause) => self.fall_back(cause, |policy, chooser| policy.decide_as(table, info, chooser)),
        }
    }

    async fn decide_slice(
        &self,
        workers: &[Arc<dyn Worker>],
        info: &SelectWorkerInfo<'_>,
    ) -> Result<Decision, DecideError> {
        let candidates = SliceCandidates::new(self.slices.version(workers), workers);
        match self.ask::<One, _>(Mode::Async, &candidates, info).await {
            Ok(Chosen { answer: Some(index), generation }) => {
                slice_decision(workers, index, Chooser::Plugin { generation })
            }
            Ok(Chosen { answer: None, .. }) => Err(DecideError::NoWorker),
            Err(cause) => self.fall_back(cause, |policy, chooser| {
                let index = policy.choose(&candidates, info).ok_or(DecideError::NoWorker)?;
                slice_decision(workers, index, chooser)
            }),
        }
    }

    async fn decide_pair(
        &self,
        table: &WorkerTable,
        info: &SelectWorkerInfo<'_>,
    ) -> Result<PairDecision, DecideError> {
        let chosen = match self.ask_pair(Mode::Async, table, info).await {
            Ok(chosen) => chosen,
            Err(cause) => {
                return self.fall_back(cause, |policy, chooser| policy.decide_pair_as(table, info, chooser));
            }
        };
        let (prefill, decode) = chosen.answer.ok_or(DecideError::NoWorker)?;
        let chooser = Chooser::Plugin { generation: chosen.generation };
        Ok(PairDecision {
            prefill: fleet_decision(table, prefill, chooser)?,
            decode: fleet_decision(table, decode, chooser)?,
        })
    }

    /// A pair: from `select_worker_pair` if the plugin has it, else from two selections.
    async fn ask_pair<C: Candidates + ?Sized>(
        &self,
        mode: Mode,
        workers: &C,
        info: &SelectWorkerInfo<'_>,
    ) -> Result<Chosen<(usize, usize)>, FailureCause> {
        let has_pair = self.active.load().as_ref().is_some_and(|generation| generation.facts.has_pair);
        if has_pair {
            return self.ask::<Pair, _>(mode, workers, info).await;
        }
        let prefills = with_role(workers, info, WorkerRole::Prefill);
        let first = SelectWorkerInfo { leg: Leg::Prefill, eligible: Some(&prefills), ..*info };
        let first = self.ask::<One, _>(mode, workers, &first).await?;
        let decodes = with_role(workers, info, WorkerRole::Decode);
        let second = SelectWorkerInfo { leg: Leg::Decode, eligible: Some(&decodes), ..*info };
        let second = self.ask::<One, _>(mode, workers, &second).await?;
        Ok(Chosen { answer: first.answer.zip(second.answer), generation: second.generation })
    }

    fn blocking_one<C: Candidates + ?Sized>(
        &self,
        workers: &C,
        info: &SelectWorkerInfo<'_>,
    ) -> Result<Chosen<usize>, FailureCause> {
        match self.host_deadline() {
            // A blocking call never waits in the sense of futures.
            None => background::ready(self.ask::<One, C>(Mode::Blocking, workers, info)),
            Some(deadline) => background::block_on(self.ask::<One, C>(Mode::Async, workers, info), deadline),
        }
        .unwrap_or(Err(FailureCause::Timeout))
    }

    fn blocking_pair<C: Candidates + ?Sized>(
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
    /// so needs a fiber: a little longer than the budget, so that the call itself reports its
    /// timeout. `None` if the plugin can run on the caller's stack.
    #[inline]
    fn host_deadline(&self) -> Option<Instant> {
        let active = self.active.load();
        let generation = active.as_ref().filter(|generation| generation.waits_for_host())?;
        Some(Instant::now() + generation.budget + Duration::from_millis(100))
    }

    /// One decision of the plugin, with its breaker and its counters.
    #[inline]
    async fn ask<Q, C>(
        &self,
        mode: Mode,
        workers: &C,
        info: &SelectWorkerInfo<'_>,
    ) -> Result<Chosen<Q::Answer>, FailureCause>
    where
        Q: Question<Answer: Debug>,
        C: Candidates + ?Sized,
    {
        let admission = self.breaker.admit();
        if admission == Admission::Refused {
            self.stats.fail(FailureCause::BreakerOpen);
            return Err(FailureCause::BreakerOpen);
        }
        let timer = self.stats.begin();
        let mut outcome = self.attempt::<Q, C>(mode, workers, info).await;
        for _ in 0..STATE_RETRIES {
            // The first state that a generation returns is not kept, since other calls may have
            // run meanwhile; from then on its calls are serialised, and it is asked again.
            if !matches!(outcome, Ok(None)) {
                break;
            }
            outcome = self.attempt::<Q, C>(mode, workers, info).await;
        }
        self.stats.end(timer);
        match outcome {
            Ok(Some(chosen)) => {
                self.breaker.succeed(admission);
                Ok(chosen)
            }
            Ok(None) => Err(self.fail(admission, &Failure::unavailable("its state could not be kept"))),
            Err(failure) => Err(self.fail(admission, &failure)),
        }
    }

    /// One run of the guest. `None` if it returned state that could not be kept.
    #[inline]
    async fn attempt<Q, C>(
        &self,
        mode: Mode,
        workers: &C,
        info: &SelectWorkerInfo<'_>,
    ) -> Result<Option<Chosen<Q::Answer>>, Failure>
    where
        Q: Question<Answer: Debug>,
        C: Candidates + ?Sized,
    {
        let started = match self.active.load().as_ref() {
            Some(generation) => call::start(generation, mode, workers, info)?,
            None => return Err(Failure::unavailable("it was unloaded")),
        };
        let ready = match started {
            Start::Ready(ready) => ready,
            Start::Slow(generation, lease) => {
                call::start_slow(self.surroundings(), &generation, lease, mode, workers, info).await?
            }
        };
        let ended = ready.run::<Q>().await?;
        {
            let active = self.active.load();
            let own = active.as_ref().filter(|generation| generation.id == ended.generation);
            if let Some(generation) = own {
                if ended.overran {
                    generation.move_to_fiber();
                }
                if ended.lost_state {
                    generation.mark_stateful();
                }
            }
            ended.lease.finish(own.map(|generation| &*generation.pool));
        }
        if ended.lost_state {
            return Ok(None);
        }
        call::check::<Q, C>(ended.choice, ended.generation, workers, info).map(Some)
    }

    fn surroundings(&self) -> Surroundings<'_> {
        Surroundings { engine: &self.engine, state: &self.state, completions: &self.completions }
    }

    #[cold]
    fn fail(&self, admission: Admission, failure: &Failure) -> FailureCause {
        let cause = failure.cause;
        let count = self.stats.fail(cause);
        let plugin = self.name.as_str();
        // The 1st, 2nd, 4th, 8th … of a kind: seen at once, and no flood.
        if count.is_power_of_two() {
            tracing::warn!(plugin, %cause, count, detail = failure.detail, "a decision failed");
        }
        if failure.counts && cause == FailureCause::Timeout {
            // The guest has spent its budget, perhaps on its caller's stack. A generation that
            // came meanwhile runs on fibers without need, which does no harm.
            if let Some(generation) = &*self.active.load() {
                generation.move_to_fiber();
            }
        }
        if failure.counts && self.breaker.fail(admission) {
            tracing::warn!(plugin, "the plugin keeps failing and is out of the path for a while");
        }
        cause
    }

    /// What the failure policy makes of a failed decision.
    #[cold]
    fn fall_back<D>(
        &self,
        cause: FailureCause,
        decide: impl FnOnce(&NativePolicy, Chooser) -> Result<D, DecideError>,
    ) -> Result<D, DecideError> {
        let fallback = self.fallback.load();
        match fallback.on_failure {
            FailurePolicy::Reject => Err(DecideError::Rejected { cause }),
            FailurePolicy::Fallback => {
                self.stats.fall_back();
                decide(&fallback.policy, Chooser::Fallback { cause })
            }
        }
    }

    /// Hands collected completions to the plugin after a moment, off the request path.
    fn schedule_completions(&self) {
        let Some(generation) = self.active.load_full() else { return };
        let completions = Arc::clone(&self.completions);
        let engine = Arc::clone(&self.engine);
        let handle = engine.background.handle().clone();
        handle.spawn(async move {
            tokio::time::sleep(COMPLETION_BATCH).await;
            if let Some(message) = completions.take_message() {
                if let Err(error) = tell_completions(&engine, &generation, &message).await {
                    tracing::debug!(%error, "the plugin could not be told of finished requests");
                }
            }
        });
    }
}

async fn tell_completions(
    engine: &Engine,
    generation: &Generation,
    message: &[u8],
) -> Result<(), crate::engine::error::CallError> {
    let mut lease = generation.pool.acquire(generation.budget).await?;
    lease.begin(Lane::Fiber, Budget::start(engine, generation.budget, generation.ticks));
    lease.reserve(message.len()).await?;
    let len = lease.write(|buffer| {
        buffer.get_mut(..message.len())?.copy_from_slice(message);
        Some(message.len())
    })?;
    lease.tell(Tell::Complete, len).await?;
    lease.finish(Some(&generation.pool));
    Ok(())
}

impl LoadBalancingPolicy for WasmPolicy {
    fn name(&self) -> &str {
        &self.name
    }

    fn needs(&self) -> RequestNeeds {
        self.active.load().as_ref().map(|generation| generation.plan.needs()).unwrap_or_default()
    }

    fn select_worker(&self, workers: &[Arc<dyn Worker>], info: &SelectWorkerInfo<'_>) -> Option<usize> {
        let candidates = SliceCandidates::new(self.slices.version(workers), workers);
        match self.blocking_one(&candidates, info) {
            Ok(chosen) => chosen.answer,
            Err(cause) => {
                let fallback =
                    |policy: &NativePolicy, _| policy.choose(&candidates, info).ok_or(DecideError::NoWorker);
                self.fall_back(cause, fallback).ok()
            }
        }
    }

    fn select_worker_async<'a>(
        &'a self,
        workers: &'a [Arc<dyn Worker>],
        info: &'a SelectWorkerInfo<'a>,
    ) -> BoxFuture<'a, Result<Decision, DecideError>> {
        Box::pin(self.decide_slice(workers, info))
    }

    fn decide(&self, table: &WorkerTable, info: &SelectWorkerInfo<'_>) -> Result<Decision, DecideError> {
        match self.blocking_one(table, info) {
            Ok(Chosen { answer: Some(index), generation }) => {
                fleet_decision(table, index, Chooser::Plugin { generation })
            }
            Ok(Chosen { answer: None, .. }) => Err(DecideError::NoWorker),
            Err(cause) => self.fall_back(cause, |policy, chooser| policy.decide_as(table, info, chooser)),
        }
    }

    fn decide_async<'a>(
        &'a self,
        table: &'a WorkerTable,
        info: &'a SelectWorkerInfo<'a>,
    ) -> BoxFuture<'a, Result<Decision, DecideError>> {
        Box::pin(Self::decide_async(self, table, info))
    }

    fn select_worker_pair(
        &self,
        prefill: &[Arc<dyn Worker>],
        decode: &[Arc<dyn Worker>],
        info: &SelectWorkerInfo<'_>,
    ) -> Option<(usize, usize)> {
        let both: Vec<Arc<dyn Worker>> = prefill.iter().chain(decode).cloned().collect();
        let candidates = SliceCandidates::new(self.slices.version(&both), &both);
        let chosen = self.blocking_pair(&candidates, info);
        let chosen = chosen
            .map(|chosen| chosen.answer)
            .or_else(|cause| self.fall_back(cause, |policy, _| Ok(policy.choose_pair(&candidates, info))));
        let (first, second) = chosen.ok().flatten()?;
        // The check goes by roles; a worker in the slice of another role must not be named by an
        // index that its slice does not have.
        (first < prefill.len()).then_some((first, second.checked_sub(prefill.len())?))
    }

    fn decide_pair_async<'a>(
        &'a self,
        table: &'a WorkerTable,
        info: &'a SelectWorkerInfo<'a>,
    ) -> BoxFuture<'a, Result<PairDecision, DecideError>> {
        Box::pin(self.decide_pair(table, info))
    }

    fn on_request_complete(&self, completion: &RequestCompletion) {
        let wanted = self.active.load().as_ref().is_some_and(|generation| generation.facts.has_on_complete);
        if wanted && self.completions.add(completion) {
            self.schedule_completions();
        }
    }
}
