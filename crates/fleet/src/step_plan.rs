//! How a rollout goes.

use serde::{Deserialize, Serialize};

use crate::fleet_state_error::FleetStateError;

/// How a rollout goes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct StepPlan {
    /// Percent of the routers in each step, growing; the last is 100.
    pub steps: Vec<u8>,
    /// Milliseconds for which a step is watched once all of its routers serve.
    pub soak_ms: u64,
    /// Decisions that the routers of a step must have made together.
    pub min_decisions: u64,
    /// Failed decisions, as a share of all, that they may have more than the routers outside.
    pub max_failure_rate_increase: f64,
    /// Times that their decision p99 may exceed that outside.
    pub max_p99_ratio: f64,
    /// Microseconds that it may exceed it in any case.
    pub p99_slack_us: u64,
}

impl Default for StepPlan {
    fn default() -> Self {
        Self {
            steps: vec![10, 50, 100],
            soak_ms: 30_000,
            min_decisions: 0,
            max_failure_rate_increase: 0.01,
            max_p99_ratio: 1.5,
            p99_slack_us: 1000,
        }
    }
}

impl StepPlan {
    /// Checks it.
    ///
    /// # Errors
    ///
    /// [`FleetStateError::Refused`] says what is wrong.
    pub fn check(&self) -> Result<(), FleetStateError> {
        let grows = self.steps.is_sorted_by(|a, b| a < b);
        let ends = self.steps.last() == Some(&100) && self.steps.first() != Some(&0);
        if !grows || !ends {
            let found = self.steps.iter().map(u8::to_string).collect::<Vec<_>>().join(",");
            let text = format!("steps {found:?}: percents that grow, from 1 to 100 at the end, are allowed");
            return Err(FleetStateError::Refused(text));
        }
        let (rate, ratio) = (self.max_failure_rate_increase, self.max_p99_ratio);
        if !(0.0..=1.0).contains(&rate) || !(1.0..=1e6).contains(&ratio) {
            let text =
                format!("bounds of {rate} (rate) and {ratio} (p99): 0 to 1 and 1 to 1000000 are allowed");
            return Err(FleetStateError::Refused(text));
        }
        Ok(())
    }
}
