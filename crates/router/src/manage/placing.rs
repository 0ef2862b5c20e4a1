//! Which policy places a request: the one in use or, for a share of the requests, one on trial beside it.
//!
//! # Concurrency
//!
//! A request takes its policy once, when it begins, and keeps it: a change of the policy harms no request in
//! flight. Taking it is one load and no lock. Operators' changes take turns elsewhere
//! ([`crate::manage::policy_switch`]).

use std::hash::{DefaultHasher, Hasher};
use std::sync::Arc;
use std::time::Instant;

use arc_swap::ArcSwap;

use sglang_router_rs::config::CanaryOptions;
use sglang_router_rs::policies::{FleetNeeds, HeaderLookup, PolicyHandle, PolicySide, key_of};

/// The policies that place requests.
#[derive(Debug)]
pub(crate) struct Placing(ArcSwap<PlacingNow>);

#[derive(Debug)]
struct PlacingNow {
    policy: PolicyHandle,
    trial: Option<Arc<PolicyTrial>>,
}

/// A policy that places a share of the requests.
#[derive(Debug)]
pub(crate) struct PolicyTrial {
    pub(crate) policy: PolicyHandle,
    pub(crate) options: CanaryOptions,
    pub(crate) since: Instant,
    /// What is counted of it.
    pub(crate) own: Arc<PolicySide>,
    /// What is counted of the one in use meanwhile.
    pub(crate) stable: Arc<PolicySide>,
}

/// The policy of one request.
#[derive(Clone, Debug)]
pub(crate) struct RequestPolicy {
    handle: PolicyHandle,
    /// Where its decisions are counted while there is a trial.
    side: Option<Arc<PolicySide>>,
}

impl RequestPolicy {
    /// The policy itself.
    pub(crate) fn handle(&self) -> &PolicyHandle {
        &self.handle
    }

    /// Where its decisions are counted, if they are.
    pub(crate) fn side(&self) -> Option<&Arc<PolicySide>> {
        self.side.as_ref()
    }
}

impl PolicyTrial {
    /// A policy on trial from now on.
    pub(crate) fn new(policy: PolicyHandle, options: CanaryOptions) -> Self {
        let (own, stable) = (Arc::default(), Arc::default());
        Self { policy, options, since: Instant::now(), own, stable }
    }

    /// True if a request is one of its share. Those with a key stay on one side.
    fn takes(&self, headers: &dyn HeaderLookup) -> bool {
        let draw = match key_of(headers) {
            Some(key) => {
                let mut hasher = DefaultHasher::new();
                hasher.write(key.as_bytes());
                f64::from(u32::try_from(hasher.finish() >> 32).unwrap_or(u32::MAX)) / 2_f64.powi(32)
            }
            None => fastrand::f64(),
        };
        draw * 100.0 < self.options.percent
    }
}

impl Placing {
    /// This policy places all requests.
    pub(crate) fn new(policy: PolicyHandle) -> Arc<Self> {
        Arc::new(Self(ArcSwap::from_pointee(PlacingNow { policy, trial: None })))
    }

    /// The policy in use.
    pub(crate) fn policy(&self) -> PolicyHandle {
        self.0.load().policy.clone()
    }

    /// The one on trial.
    pub(crate) fn trial(&self) -> Option<Arc<PolicyTrial>> {
        self.0.load().trial.clone()
    }

    /// The policy for a request that begins.
    pub(crate) fn choose(&self, headers: &dyn HeaderLookup) -> RequestPolicy {
        let now = self.0.load();
        match &now.trial {
            None => RequestPolicy { handle: now.policy.clone(), side: None },
            Some(trial) if trial.takes(headers) => {
                RequestPolicy { handle: trial.policy.clone(), side: Some(Arc::clone(&trial.own)) }
            }
            Some(trial) => {
                RequestPolicy { handle: now.policy.clone(), side: Some(Arc::clone(&trial.stable)) }
            }
        }
    }

    /// What is to be known of workers.
    pub(crate) fn fleet_needs(&self) -> FleetNeeds {
        let now = self.0.load();
        let trial = now.trial.as_ref().map(|trial| trial.policy.fleet_needs()).unwrap_or_default();
        now.policy.fleet_needs().and(trial)
    }

    /// Tells all of them that a session is over. True if one listens.
    pub(crate) fn end_session(&self, session: &str) -> bool {
        let now = self.0.load();
        let own = now.policy.on_session_end(session);
        let trial = now.trial.as_ref().is_some_and(|trial| trial.policy.on_session_end(session));
        own || trial
    }

    /// From now on this policy places requests, and this one its share of them.
    pub(crate) fn set(&self, policy: PolicyHandle, trial: Option<PolicyTrial>) {
        self.0.store(Arc::new(PlacingNow { policy, trial: trial.map(Arc::new) }));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sglang_router_rs::policies::PolicyFactory;

    struct Key(String);

    impl HeaderLookup for Key {
        fn header(&self, name: &str) -> Option<&str> {
            (name == "x-session-id" && !self.0.is_empty()).then_some(&self.0)
        }
    }

    fn named(name: &str) -> PolicyHandle {
        PolicyFactory::new().create_by_name(name).unwrap()
    }

    #[test]
    fn share_of_a_trial_is_that_of_its_requests_and_a_key_stays_on_one_side() {
        let placing = Placing::new(named("random"));
        let all = |key: fn(u32) -> String| {
            (0..20_000)
                .filter(|number| placing.choose(&Key(key(*number))).handle().name() == "least_load")
                .count()
        };
        assert_eq!(all(|_| String::new()), 0);
        assert!(placing.choose(&Key(String::new())).side().is_none());
        let options = CanaryOptions { percent: 25.0, ..CanaryOptions::default() };
        placing.set(placing.policy(), Some(PolicyTrial::new(named("least_load"), options)));
        for count in [all(|_| String::new()), all(|number| format!("session {number}"))] {
            assert!((4_500..5_500).contains(&count), "{count} of 20000");
        }
        let of_one = all(|_| "one".to_owned());
        assert!(of_one == 0 || of_one == 20_000, "{of_one}");
        placing.set(named("least_load"), None);
        assert_eq!(all(|_| String::new()), 20_000);
    }
}
