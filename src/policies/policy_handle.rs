//! A policy as routers hold it.

use std::sync::Arc;

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
use crate::policies::wasm::rollout::wasm_policy::WasmPolicy;
use crate::policies::wasm::stand_in;
use crate::policies::wasm::stand_in::StandIn;
use crate::types::future::BoxFuture;

/// A cheap handle of a policy: native, plugin, or the embedder's own.
///
/// It knows its kinds, so that its own asynchronous methods box no future unless the policy is a custom
/// one. As a [`LoadBalancingPolicy`] it fits wherever a trait object is wanted.
#[derive(Clone, Debug)]
pub enum PolicyHandle {
    /// A built-in policy.
    Native(Arc<NativePolicy>),
    /// A plugin.
    Wasm(Arc<WasmPolicy>),
    /// The embedder's own Rust policy.
    Custom(Arc<dyn LoadBalancingPolicy>),
}

impl PolicyHandle {
    /// The name in the configuration.
    pub fn name(&self) -> &str {
        self.as_dyn().name()
    }

    /// What it needs to know of a request's body.
    pub fn needs(&self) -> RequestNeeds {
        self.as_dyn().needs()
    }

    /// Which fields of the body and parameters of the URL it wants.
    pub fn wanted_names(&self) -> Option<Arc<WantedNames>> {
        self.as_dyn().wanted_names()
    }

    /// What it reads of workers.
    pub fn fleet_needs(&self) -> FleetNeeds {
        self.as_dyn().fleet_needs()
    }

    /// A decision over the router's own table, on the caller's thread. Needs no async runtime.
    ///
    /// # Errors
    ///
    /// [`DecideError`] says why there is no decision.
    #[inline]
    pub fn decide(&self, table: &WorkerTable, info: &SelectWorkerInfo<'_>) -> Result<Decision, DecideError> {
        match self {
            Self::Native(policy) => policy.decide(table, info),
            Self::Wasm(policy) => policy.decide(table, info),
            Self::Custom(policy) => policy.decide(table, info),
        }
    }

    /// A decision over the router's own table, without blocking.
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
        match self {
            Self::Native(policy) => policy.decide(table, info),
            Self::Wasm(policy) => policy.decide_async(table, info).await,
            Self::Custom(policy) => policy.decide_async(table, info).await,
        }
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
        match self {
            Self::Native(policy) => policy.decide_pair_as(table, info, Chooser::Native),
            Self::Wasm(policy) => policy.decide_pair_async(table, info).await,
            Self::Custom(policy) => policy.decide_pair_async(table, info).await,
        }
    }

    /// What decides in its place now, if it is a plugin that was paused or whose breaker is open.
    pub fn stand_in(&self) -> Option<StandIn> {
        match self {
            Self::Wasm(policy) => stand_in::stand_in(policy),
            Self::Native(_) | Self::Custom(_) => None,
        }
    }

    /// Whether it wants to hear of finished requests now.
    pub fn wants_completions(&self) -> bool {
        match self {
            Self::Native(_) => false,
            Self::Wasm(policy) => policy.wants_completions(),
            Self::Custom(policy) => policy.wants_completions(),
        }
    }

    /// What it wants to hear of the requests that it places now.
    pub fn outcome_needs(&self) -> OutcomeNeeds {
        match self {
            Self::Native(_) => OutcomeNeeds::default(),
            Self::Wasm(policy) => policy.outcome_needs(),
            Self::Custom(policy) => policy.outcome_needs(),
        }
    }

    /// Tells the policy that the streamed answer of a request it placed has begun.
    pub fn on_first_token(&self, first: &RequestFirstToken) {
        self.as_dyn().on_first_token(first);
    }

    /// Tells the policy that a request it placed has finished.
    pub fn on_request_complete(&self, completion: &RequestCompletion) {
        self.as_dyn().on_request_complete(completion);
    }

    /// Tells the policy that the session with this key ([`SelectWorkerInfo::session`]) is over, so that it
    /// need not wait for its silence. True if it listens: it hears of it within some 5 ms.
    pub fn on_session_end(&self, session: &str) -> bool {
        self.as_dyn().on_session_end(session)
    }

    fn as_dyn(&self) -> &dyn LoadBalancingPolicy {
        match self {
            Self::Native(policy) => &**policy,
            Self::Wasm(policy) => &**policy,
            Self::Custom(policy) => &**policy,
        }
    }
}

impl LoadBalancingPolicy for PolicyHandle {
    fn name(&self) -> &str {
        self.as_dyn().name()
    }

    fn needs(&self) -> RequestNeeds {
        self.as_dyn().needs()
    }

    fn wanted_names(&self) -> Option<Arc<WantedNames>> {
        self.as_dyn().wanted_names()
    }

    fn fleet_needs(&self) -> FleetNeeds {
        self.as_dyn().fleet_needs()
    }

    fn select_worker(&self, workers: &[Arc<dyn Worker>], info: &SelectWorkerInfo<'_>) -> Option<usize> {
        self.as_dyn().select_worker(workers, info)
    }

    fn select_worker_async<'a>(
        &'a self,
        workers: &'a [Arc<dyn Worker>],
        info: &'a SelectWorkerInfo<'a>,
    ) -> BoxFuture<'a, Result<Decision, DecideError>> {
        self.as_dyn().select_worker_async(workers, info)
    }

    fn decide(&self, table: &WorkerTable, info: &SelectWorkerInfo<'_>) -> Result<Decision, DecideError> {
        self.as_dyn().decide(table, info)
    }

    fn decide_async<'a>(
        &'a self,
        table: &'a WorkerTable,
        info: &'a SelectWorkerInfo<'a>,
    ) -> BoxFuture<'a, Result<Decision, DecideError>> {
        self.as_dyn().decide_async(table, info)
    }

    fn select_worker_pair(
        &self,
        prefill: &[Arc<dyn Worker>],
        decode: &[Arc<dyn Worker>],
        info: &SelectWorkerInfo<'_>,
    ) -> Option<(usize, usize)> {
        self.as_dyn().select_worker_pair(prefill, decode, info)
    }

    fn decide_pair_async<'a>(
        &'a self,
        table: &'a WorkerTable,
        info: &'a SelectWorkerInfo<'a>,
    ) -> BoxFuture<'a, Result<PairDecision, DecideError>> {
        self.as_dyn().decide_pair_async(table, info)
    }

    fn wants_completions(&self) -> bool {
        Self::wants_completions(self)
    }

    fn outcome_needs(&self) -> OutcomeNeeds {
        Self::outcome_needs(self)
    }

    fn on_first_token(&self, first: &RequestFirstToken) {
        self.as_dyn().on_first_token(first);
    }

    fn on_request_complete(&self, completion: &RequestCompletion) {
        self.as_dyn().on_request_complete(completion);
    }

    fn on_session_end(&self, session: &str) -> bool {
        Self::on_session_end(self, session)
    }
}
