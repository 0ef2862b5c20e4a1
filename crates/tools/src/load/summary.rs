//! What a run has shown, as figures: the one source of all reports, and itself the JSON one.

use std::time::Duration;

use serde::Serialize;
use serde_json::{Value, json};

use crate::load::arrivals::Pace;
use crate::load::comparison::Comparison;
use crate::load::plan::Plan;
use crate::load::run::RunOutcome;
use crate::load::run_info::RunInfo;
use crate::load::target_summary::TargetSummary;

/// Version of the JSON form; it rises if a field changes its meaning or goes.
const VERSION: u32 = 1;

/// A run in figures. Serialised, it is the JSON report.
#[derive(Clone, Debug, Serialize)]
pub struct Summary {
    /// Version of this form.
    pub version: u32,
    /// When, where and how the run was made.
    pub run: RunInfo,
    /// What was asked for.
    pub settings: Value,
    /// True if the run was ended early.
    pub interrupted: bool,
    /// In the order of the plan.
    pub targets: Vec<TargetSummary>,
    /// Every further target against the first.
    pub comparison: Vec<Comparison>,
}

impl Summary {
    /// The figures of a run.
    pub fn new(plan: &Plan, outcome: &RunOutcome, run: RunInfo) -> Self {
        let targets: Vec<TargetSummary> =
            outcome.targets.iter().map(|target| TargetSummary::new(plan, target)).collect();
        let comparison = match targets.split_first() {
            Some((first, others)) => others.iter().map(|other| Comparison::new(first, other)).collect(),
            None => Vec::new(),
        };
        Self {
            version: VERSION,
            run,
            settings: settings(plan),
            interrupted: outcome.interrupted,
            targets,
            comparison,
        }
    }

    /// The highest share of failed requests of a target, 0 to 1.
    pub fn highest_error_rate(&self) -> f64 {
        self.targets.iter().map(|target| target.error_rate).fold(0.0, f64::max)
    }

    /// The first target that answered no request at all, though it was asked.
    pub fn all_failed(&self) -> Option<&TargetSummary> {
        self.targets.iter().find(|target| target.requests > 0 && target.failed == target.requests)
    }

    /// The JSON report, one line.
    pub fn to_json(&self) -> String {
        // Plain data with text keys: nothing in it can fail.
        serde_json::to_string(self).unwrap_or_default()
    }
}

fn settings(plan: &Plan) -> Value {
    let pace = match &plan.pace {
        Pace::Closed { connections } => json!({"kind": "closed", "connections": connections}),
        Pace::Constant { per_second } => json!({"kind": "constant", "per_second": per_second}),
        Pace::Poisson { per_second } => json!({"kind": "poisson", "per_second": per_second}),
        Pace::Trace { trace, speed } => {
            json!({"kind": "trace", "requests": trace.entries().len(), "speed": speed})
        }
    };
    let seconds = |duration: Duration| duration.as_secs_f64();
    let limits = &plan.limits;
    json!({
        "pace": pace,
        "model": plan.shape.model,
        "prompt_tokens": plan.shape.prompt_tokens,
        "output_tokens": plan.shape.output_tokens,
        "prompts": plan.shape.prompts,
        "stream": plan.shape.stream,
        "token_ids_below": plan.shape.token_ids_below,
        "trace_block_tokens": plan.shape.trace_block_tokens,
        "rounds": plan.rounds,
        "duration_seconds": limits.duration.map(seconds),
        "requests": limits.requests,
        "warmup_seconds": seconds(limits.warmup),
        "timeout_seconds": seconds(limits.timeout),
        "drain_seconds": seconds(limits.drain),
        "max_in_flight": limits.max_in_flight,
        "seed": plan.seed,
        "swaps": plan.swaps.as_ref().map(|swaps| json!({
            "every_seconds": seconds(swaps.every),
            "target": swaps.target,
            "modules": swaps.modules,
        })),
    })
}
