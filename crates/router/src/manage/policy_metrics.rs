//! The metrics of the policy that places requests, and of those that were on trial beside it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::manage::placing::Placing;
use crate::metrics::{Metrics, catalogue};
use sgl_api::PolicyKind;
use sglang_router_rs::policies::PolicyHandle;

/// How trials of policies ended.
#[derive(Debug, Default)]
pub(crate) struct TrialEnds {
    /// The policy places all requests: its bounds held, or an operator said so.
    pub(crate) promoted: AtomicU64,
    /// A bound was broken.
    pub(crate) rolled_back: AtomicU64,
    /// An operator ended it, or had another policy place requests.
    pub(crate) withdrawn: AtomicU64,
}

impl TrialEnds {
    /// One more ended so.
    pub(crate) fn add(end: &AtomicU64) {
        // Relaxed: a counter.
        end.fetch_add(1, Ordering::Relaxed);
    }
}

/// What a policy is.
pub(crate) fn kind_of(policy: &PolicyHandle) -> PolicyKind {
    match policy {
        PolicyHandle::Native(_) => PolicyKind::BuiltIn,
        PolicyHandle::Wasm(_) => PolicyKind::Plugin,
        PolicyHandle::Custom(_) => PolicyKind::Custom,
    }
}

/// Registers them.
pub(crate) fn register(placing: &Arc<Placing>, ends: &Arc<TrialEnds>, metrics: &Metrics) {
    let (placing, ends) = (Arc::clone(placing), Arc::clone(ends));
    metrics.register(move |families| {
        let (policy, trial) = (placing.policy(), placing.trial());
        let share = trial.as_ref().map_or(0.0, |trial| trial.options.percent / 100.0);
        let kind = |policy: &PolicyHandle| kind_of(policy).as_str().replace(' ', "_");
        let family = families.family(&catalogue::POLICY_SHARE);
        let mut tell = |policy: &PolicyHandle, role: &str, share: f64| {
            let stand_in = policy.stand_in();
            let own = if stand_in.is_some() { 0.0 } else { share };
            family.gauge(&[policy.name(), &kind(policy), role], own);
            stand_in.and_then(|stand_in| stand_in.policy).map(|name| (name, share - own))
        };
        let mut stand_ins = BTreeMap::<String, f64>::new();
        let of_trial = trial.as_ref().and_then(|trial| tell(&trial.policy, "on_trial", share));
        for (name, share) in tell(&policy, "in_use", 1.0 - share).into_iter().chain(of_trial) {
            *stand_ins.entry(name).or_default() += share;
        }
        for (name, share) in stand_ins {
            family.gauge(&[&name, "built_in", "fallback"], share);
        }
        let family = families.family(&catalogue::POLICY_TRIALS);
        for (end, count) in
            [("promoted", &ends.promoted), ("rolled_back", &ends.rolled_back), ("withdrawn", &ends.withdrawn)]
        {
            // Relaxed: a counter.
            family.count(&[end], count.load(Ordering::Relaxed));
        }
    });
}
