//! What decides in a plugin's place when it has failed.

use crate::config::plugin::{FailurePolicy, PluginOptions};
use crate::policies::decision::{Chooser, DecideError, FailureCause};
use crate::policies::load_balancing::LoadBalancingPolicy;
use crate::policies::native::native_policy::NativePolicy;
use crate::policies::wasm::state::plugin_state::PluginState;
use crate::policies::wasm::state::stats::DecisionStats;

/// What happens when the plugin fails.
#[derive(Debug)]
pub(crate) struct Fallback {
    policy: NativePolicy,
    on_failure: FailurePolicy,
}

impl Fallback {
    /// The one that these options name.
    pub(crate) fn of(options: &PluginOptions) -> Self {
        // The validator has checked the name; the default is the last resort.
        let policy = NativePolicy::by_name(&options.fallback).unwrap_or_default();
        Self { policy, on_failure: options.on_failure }
    }

    /// The name of the policy that decides then; `None` if requests are refused.
    pub(crate) fn stand_in(&self) -> Option<&str> {
        (self.on_failure == FailurePolicy::Fallback).then(|| self.policy.name())
    }

    /// Applies the failure policy to a failed decision.
    #[cold]
    pub(crate) fn decide<D>(
        &self,
        state: &PluginState,
        cause: FailureCause,
        decide: impl FnOnce(&NativePolicy, Chooser) -> Result<D, DecideError>,
    ) -> Result<D, DecideError> {
        match self.on_failure {
            FailurePolicy::Reject => Err(DecideError::Rejected { cause }),
            FailurePolicy::Fallback => {
                state.count(None, DecisionStats::fall_back);
                decide(&self.policy, Chooser::Fallback { cause })
            }
        }
    }
}
