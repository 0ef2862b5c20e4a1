//! A policy that makes recorded decisions again.

use tokio::runtime::Runtime;

use crate::fleet::{FreshPolicy, PolicyFault, PolicyShelf, PolicySource};
use crate::replay::recorded_fleet::DecisionWorkers;
use crate::replay::replay_choice::{ReplayAnswer, ReplayChoice};
use crate::replay::replayed_request::ReplayedRequest;
use sgl_policy_abi::Input;
use sglang_router_rs::policies::{Chooser, DecideError, Explanation, LoadBalancingPolicy, SelectWorkerInfo};

/// A policy that makes recorded decisions again.
#[derive(Debug)]
pub struct Contender {
    name: String,
    policy: FreshPolicy,
}

impl Contender {
    /// The policy of this source, which nobody has asked yet.
    ///
    /// # Errors
    ///
    /// [`PolicyFault`].
    pub fn new(shelf: &PolicyShelf, source: &PolicySource) -> Result<Self, PolicyFault> {
        let (name, policy) = (source.name.clone(), shelf.take(source)?);
        if policy.views.is_some() {
            return Err(PolicyFault::OnlySimulated { name });
        }
        Ok(Self { name, policy })
    }

    /// What reports call it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What it looks at: what its module declares, or what is known of those that declare nothing.
    pub(crate) fn inputs(&self) -> Vec<Input> {
        let is_plugin = self.policy.inputs.is_some() || self.policy.handle.needs().text;
        match &self.policy.inputs {
            Some(inputs) => inputs.clone(),
            None if is_plugin => vec![Input::Load, Input::RequestText],
            None if self.name == "consistent_hash" => vec![Input::Session],
            None => vec![Input::Load],
        }
    }

    /// Its decision.
    pub(crate) fn decide(
        &self,
        runtime: &Runtime,
        workers: &DecisionWorkers,
        request: &ReplayedRequest<'_>,
    ) -> ReplayAnswer {
        let explanation = Explanation::default();
        let info = request.info(workers.eligible.as_ref(), &explanation);
        let (choice, by_fallback) = match workers.prefills {
            None => self.one(runtime, workers, &info),
            Some(prefills) => (self.pair(workers, prefills, &info), false),
        };
        let explained = explanation.take();
        // A pair does not say who chose it, but a failure is explained.
        let is_pair = workers.prefills.is_some();
        let by_fallback = by_fallback
            || (is_pair && explained.failure.is_some() && matches!(choice, ReplayChoice::Placed(_)));
        ReplayAnswer { choice, failure: explained.failure, reason: explained.reason, by_fallback }
    }

    fn one(
        &self,
        runtime: &Runtime,
        workers: &DecisionWorkers,
        info: &SelectWorkerInfo<'_>,
    ) -> (ReplayChoice, bool) {
        match runtime.block_on(self.policy.handle.select_worker_async(&workers.workers, info)) {
            Ok(decision) => {
                let place = workers.places.get(decision.index()).copied();
                let by_fallback = matches!(decision.chooser(), Chooser::Fallback { .. });
                (place.map_or(ReplayChoice::Nobody, |place| ReplayChoice::Placed(vec![place])), by_fallback)
            }
            Err(DecideError::Wait(_)) => (ReplayChoice::Held, false),
            Err(DecideError::Shed { .. }) => (ReplayChoice::Shed, false),
            Err(_) => (ReplayChoice::Nobody, false),
        }
    }

    fn pair(&self, workers: &DecisionWorkers, prefills: usize, info: &SelectWorkerInfo<'_>) -> ReplayChoice {
        let (prefill, decode) = workers.workers.split_at(prefills.min(workers.workers.len()));
        let chosen = self.policy.handle.select_worker_pair(prefill, decode, info);
        let places = chosen.and_then(|(first, second)| {
            Some(vec![*workers.places.get(first)?, *workers.places.get(prefills + second)?])
        });
        places.map_or(ReplayChoice::Nobody, ReplayChoice::Placed)
    }
}
