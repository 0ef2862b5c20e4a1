//! The routers of a step, and those outside of it, as two sides that are compared.

use crate::desired_plugin::StepPlan;
use crate::presence::PluginHealth;

/// Failures that a rate is judged by at least: one of three is no rate.
const MIN_FAILURES: u64 = 5;

/// Decisions that a p99 is compared by at least: of fewer it is the slowest of a few, such as the very first.
const MIN_TIMED: u64 = 500;

/// What one router counted.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct DecisionTally {
    pub(crate) decisions: u64,
    pub(crate) failures: u64,
}

/// What several routers counted together.
#[derive(Debug, Default)]
pub(crate) struct StepSide {
    pub(crate) counts: DecisionTally,
    p99_ns: Vec<u64>,
}

impl StepSide {
    /// One router more, with what it had counted before.
    pub(crate) fn add(&mut self, health: &PluginHealth, before: DecisionTally) {
        self.counts.decisions += health.decisions.saturating_sub(before.decisions);
        self.counts.failures += health.failures.saturating_sub(before.failures);
        self.p99_ns.extend(health.p99_ns);
    }

    #[expect(clippy::cast_precision_loss, reason = "counts of decisions")]
    fn failure_rate(&self) -> f64 {
        if self.counts.decisions == 0 {
            0.0
        } else {
            self.counts.failures as f64 / self.counts.decisions as f64
        }
    }

    /// The median of what the routers say.
    fn p99_ns(&self) -> Option<u64> {
        let mut sorted = self.p99_ns.clone();
        sorted.sort_unstable();
        sorted.get(sorted.len() / 2).copied()
    }
}

/// Why the routers of the step are worse than those outside; without any of those, than none that fails.
pub(crate) fn worse(plan: &StepPlan, within: &StepSide, outside: &StepSide) -> Option<String> {
    let (own, others) = (within.failure_rate(), outside.failure_rate());
    if within.counts.failures >= MIN_FAILURES && own > others + plan.max_failure_rate_increase {
        let (percent, others) = (own * 100.0, others * 100.0);
        return Some(format!("{percent:.2} % of its decisions fail, {others:.2} % outside of the step"));
    }
    if within.counts.decisions < MIN_TIMED {
        return None;
    }
    let (own, others) = (within.p99_ns()?, outside.p99_ns()?);
    #[expect(clippy::cast_precision_loss, reason = "nanoseconds of one decision")]
    let (own, others) = (own as f64, others as f64);
    #[expect(clippy::cast_precision_loss, reason = "microseconds of one decision")]
    let slack = plan.p99_slack_us as f64 * 1000.0;
    let is_slower = own > others * plan.max_p99_ratio && own > others + slack;
    is_slower.then(|| {
        let (own, others) = (own / 1000.0, others / 1000.0);
        format!("its decision p99 is {own:.0} µs, {others:.0} µs outside of the step")
    })
}
