//! A plugin as a policy: the forms of a decision, and what it is told of its requests.

use std::sync::Arc;

use crate::core::candidate_workers::SliceCandidates;
use crate::core::table::WorkerTable;
use crate::core::worker::Worker;
use crate::policies::decision::{Chooser, DecideError, Decision, PairDecision};
use crate::policies::fleet_needs::FleetNeeds;
use crate::policies::load_balancing::{
    LoadBalancingPolicy, OutcomeNeeds, RequestCompletion, RequestFirstToken,
};
use crate::policies::native::native_policy::NativePolicy;
use crate::policies::select_worker_info::{RequestNeeds, SelectWorkerInfo};
use crate::policies::wanted_names::WantedNames;
use crate::policies::wasm::decide::call::{Chosen, Mode};
use crate::policies::wasm::decide::judging::nobody;
use crate::policies::wasm::decide::question::{One, Pair};
use crate::policies::wasm::decide::telling::Event;
use crate::policies::wasm::load::generation::Generation;
use crate::policies::wasm::rollout::active::Active;
use crate::policies::wasm::rollout::wasm_policy::WasmPolicy;
use crate::policies::wasm::state::outcomes::Added;
use crate::types::future::BoxFuture;

impl WasmPolicy {
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
            Ok(Chosen { answer: Some(placed), generation }) => {
                Decision::on_fleet(table, placed, Chooser::Plugin { generation }, info)
            }
            Ok(Chosen { answer: None, generation }) => Err(nobody::<One, _>(generation, table, info)),
            Err(cause) => self.fall_back(cause, |policy, chooser| policy.decide_as(table, info, chooser)),
        }
    }

    async fn decide_slice(
        &self,
        workers: &[Arc<dyn Worker>],
        info: &SelectWorkerInfo<'_>,
    ) -> Result<Decision, DecideError> {
        let candidates = SliceCandidates::new(self.slices().version(workers), workers);
        match self.ask::<One, _>(Mode::Async, &candidates, info).await {
            Ok(Chosen { answer: Some(placed), generation }) => {
                Decision::on_slice(workers, placed, Chooser::Plugin { generation }, info)
            }
            Ok(Chosen { answer: None, generation }) => Err(nobody::<One, _>(generation, &candidates, info)),
            Err(cause) => self.fall_back(cause, |policy, chooser| {
                let index = policy.choose(&candidates, info).ok_or(DecideError::NoWorker)?;
                Decision::on_slice(workers, index.into(), chooser, info)
            }),
        }
    }

    /// A prefill and a decode worker of a slice, by their own roles, chosen together.
    ///
    /// # Errors
    ///
    /// [`DecideError`] says why there is no decision.
    ///
    /// # Cancel safety
    ///
    /// As [`decide_async`](Self::decide_async).
    pub async fn decide_pair_of(
        &self,
        workers: &[Arc<dyn Worker>],
        info: &SelectWorkerInfo<'_>,
    ) -> Result<PairDecision, DecideError> {
        let candidates = SliceCandidates::new(self.slices().version(workers), workers);
        let chosen = match self.ask_pair(Mode::Async, &candidates, info).await {
            Ok(chosen) => chosen,
            Err(cause) => {
                return self.fall_back(cause, |policy, chooser| {
                    let (first, second) =
                        policy.choose_pair(&candidates, info).ok_or(DecideError::NoWorker)?;
                    PairDecision::on_slice(workers, (first.into(), second.into()), chooser, info)
                });
            }
        };
        let generation = chosen.generation;
        let none = || nobody::<Pair, _>(generation, &candidates, info);
        PairDecision::on_slice(workers, chosen.answer.ok_or_else(none)?, Chooser::Plugin { generation }, info)
    }

    /// A prefill and a decode worker of the router's own table, chosen together.
    ///
    /// # Errors
    ///
    /// [`DecideError`] says why there is no decision.
    ///
    /// # Cancel safety
    ///
    /// As [`decide_async`](Self::decide_async).
    pub async fn decide_pair_async(
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
        let generation = chosen.generation;
        let none = || nobody::<Pair, _>(generation, table, info);
        PairDecision::on_fleet(table, chosen.answer.ok_or_else(none)?, Chooser::Plugin { generation }, info)
    }
}

impl LoadBalancingPolicy for WasmPolicy {
    fn name(&self) -> &str {
        Self::name(self)
    }

    fn needs(&self) -> RequestNeeds {
        self.in_use().as_ref().map(|active| active.needs()).unwrap_or_default()
    }

    fn wanted_names(&self) -> Option<Arc<WantedNames>> {
        self.in_use().as_ref().and_then(|active| active.wanted_names())
    }

    fn fleet_needs(&self) -> FleetNeeds {
        self.in_use().as_ref().map(|active| active.fleet_needs()).unwrap_or_default()
    }

    fn select_worker(&self, workers: &[Arc<dyn Worker>], info: &SelectWorkerInfo<'_>) -> Option<usize> {
        let candidates = SliceCandidates::new(self.slices().version(workers), workers);
        match self.blocking_one(&candidates, info) {
            Ok(chosen) => chosen.answer.map(|placed| placed.index),
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
            Ok(Chosen { answer: Some(placed), generation }) => {
                Decision::on_fleet(table, placed, Chooser::Plugin { generation }, info)
            }
            Ok(Chosen { answer: None, generation }) => Err(nobody::<One, _>(generation, table, info)),
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
        let both = [prefill, decode].concat();
        let version = self.slices().pair_version(&both, prefill.len());
        let candidates = SliceCandidates::pair(version, &both, prefill.len());
        let chosen = self.blocking_pair(&candidates, info);
        let chosen = chosen
            .map(|chosen| chosen.answer.map(|(prefill, decode)| (prefill.index, decode.index)))
            .or_else(|cause| self.fall_back(cause, |policy, _| Ok(policy.choose_pair(&candidates, info))));
        let (first, second) = chosen.ok().flatten()?;
        // The roles guarantee that the first is below the boundary and the second above it.
        Some((first, second.checked_sub(prefill.len())?))
    }

    fn decide_pair_async<'a>(
        &'a self,
        table: &'a WorkerTable,
        info: &'a SelectWorkerInfo<'a>,
    ) -> BoxFuture<'a, Result<PairDecision, DecideError>> {
        Box::pin(Self::decide_pair_async(self, table, info))
    }

    fn wants_completions(&self) -> bool {
        let active = self.in_use();
        active.as_ref().is_some_and(|active| active.stable.facts.has_on_complete || active.canary.is_some())
    }

    fn outcome_needs(&self) -> OutcomeNeeds {
        self.in_use().as_ref().map(|active| active.outcome_needs()).unwrap_or_default()
    }

    fn on_first_token(&self, first: &RequestFirstToken) {
        let active = self.in_use();
        let Some(told) = active.as_ref().and_then(|active| self.placed_by(active, first.chooser)) else {
            return;
        };
        if told.facts.has_on_first_token {
            self.added(told, Event::FirstToken, told.kept.outcomes.add_first_token(first));
        }
    }

    fn on_request_complete(&self, completion: &RequestCompletion) {
        let active = self.in_use();
        let Some(active) = active.as_ref() else { return };
        let Some(told) = self.placed_by(active, completion.chooser) else { return };
        if let (Some(canary), Chooser::Plugin { generation }) = (&active.canary, completion.chooser) {
            // Only requests placed while the canary ran: errors end early and answers end late, so older
            // requests of the stable generation look better than any placed now.
            if completion.judged && completion.total <= canary.since.elapsed() {
                self.state().count(Some(generation), |stats| stats.finish_request(completion.success));
            }
        }
        if told.facts.has_on_complete {
            self.added(told, Event::Completion, told.kept.outcomes.add_completion(completion));
        }
    }

    fn on_session_end(&self, session: &str) -> bool {
        let active = self.in_use();
        let Some(active) = active.as_ref() else { return false };
        let session: Arc<str> = session.into();
        let mut is_told = false;
        // Each has state of its own, whoever placed the session's requests.
        for told in active.deciding().filter(|generation| generation.facts.has_on_session_end) {
            self.added(told, Event::SessionEnd, told.kept.outcomes.add_session_end(&session));
            is_told = true;
        }
        is_told
    }
}

impl WasmPolicy {
    /// The generation that is told of what comes of a request: that which placed it, if it is still
    /// there, or the one that serves. `None` if a candidate placed it that is gone: it counted the
    /// request in state of its own, which is gone too.
    fn placed_by<'a>(&self, active: &'a Active, chooser: Chooser) -> Option<&'a Arc<Generation>> {
        if let Chooser::Plugin { generation } = chooser
            && generation != active.stable.id
        {
            match &active.canary {
                Some(canary) if canary.generation.id == generation => return Some(&canary.generation),
                _ if self.state().was_dropped(generation) => return None,
                _ => {}
            }
        }
        Some(&active.stable)
    }

    fn added(&self, told: &Arc<Generation>, event: Event, added: Added) {
        match added {
            Added::First => self.schedule(Arc::clone(told), event),
            Added::Displaced => self.state().drop_event(),
            Added::Joined => {}
        }
    }
}
