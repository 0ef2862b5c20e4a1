//! What is found of a module by loading it and having it decide.

use std::time::Duration;

use serde::Serialize;

use crate::trial::described_request::{DescribedRequest, WorkerName};
use crate::trial::described_worker::DescribedWorker;
use crate::trial::prepared_request::PreparedRequest;
use crate::trial::trial_decision::{TrialDecision, TrialOutcome};
use crate::trial::trial_fleet::TrialFleet;
use crate::trial::tried_plugin::TriedPlugin;
use sgl_policy_abi::{Input, Wire};
use sglang_router_rs::policies::WasmPolicyConfig;

/// Numbers of workers over which decisions are timed.
const TIMED_WORKERS: [usize; 3] = [8, 64, 1000];

/// Decisions of which the median is told.
const TIMED_DECISIONS: usize = 200;

/// Decisions after which memory is looked at, and once more after as many again.
const GROWTH_DECISIONS: usize = 2000;

/// What is found of a module by having it decide.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct ModuleSheet {
    /// What it chose of eight idle workers.
    pub(crate) decision: TrialOutcome,
    /// How long a decision takes here.
    pub(crate) times: Vec<DecisionTime>,
    /// Memory of an instance once it has decided, in bytes.
    pub(crate) memory_bytes: usize,
    /// What may not be meant.
    pub(crate) warnings: Vec<String>,
}

/// How long a decision takes.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct DecisionTime {
    pub(crate) workers: usize,
    /// The median.
    pub(crate) ns: u64,
}

/// Has a module decide.
///
/// # Errors
///
/// The kit's own requests cannot be asked.
pub(crate) fn module_sheet(plugin: &TriedPlugin<'_>) -> Result<ModuleSheet, String> {
    let fleet = TrialFleet::new(&vec![DescribedWorker::default(); 8]);
    let ask = |described| plugin.decide(&fleet, &PreparedRequest::new(described, plugin.handle()), false);
    let decision = ask(text("a prompt"))?.outcome;
    let mut warnings = plugin.facts().oversights.clone();
    warnings.extend(undeclared(plugin));
    warnings.extend(answer_warning(&decision));
    if let [chosen] = decision.workers() {
        let excluded = vec![WorkerName::Place(*chosen)];
        let again = ask(DescribedRequest { excluded, ..text("a prompt") })?.outcome;
        if again.is_failure() {
            warnings.push(format!(
                "asked again without the worker that it chose, it does not choose another ({}): it must pass over \
                 workers whose bit in `excluded` is set, else each retry goes to the fallback",
                again.text()
            ));
        }
    }
    let times: Vec<DecisionTime> = TIMED_WORKERS
        .into_iter()
        .map(|workers| DecisionTime {
            workers,
            ns: nanoseconds(plugin.decision_time(workers, TIMED_DECISIONS)),
        })
        .collect();
    warnings.extend(slow(&times));
    let (memory_bytes, grown) = growth(plugin, &ask)?;
    if grown > 0 {
        warnings.push(format!(
            "its memory grew by {grown} bytes over {GROWTH_DECISIONS} decisions after as many before: bound what it \
             keeps of requests, or free it"
        ));
    }
    Ok(ModuleSheet { decision, times, memory_bytes, warnings })
}

fn text(text: &str) -> DescribedRequest {
    DescribedRequest { request_text: Some(text.to_owned()), ..DescribedRequest::default() }
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// What its manifest lacks.
fn undeclared(plugin: &TriedPlugin<'_>) -> Option<String> {
    let manifest = &plugin.facts().manifest;
    if manifest.name.is_empty() && manifest.wire == Wire::Rows {
        return Some(
            "it has no manifest (custom section `sgl.policy`): it is sent the slow row form, in which there are only \
             URL, health and load, and it has no name or version"
                .to_owned(),
        );
    }
    let is_blind = manifest.wire == Wire::Columns && !manifest.inputs.contains(&Input::Excluded);
    is_blind.then(|| {
        "its manifest does not list the input `excluded`: it cannot know which workers were tried for a request, \
         and choosing one of them is a failure"
            .to_owned()
    })
}

fn answer_warning(decision: &TrialOutcome) -> Option<String> {
    let what = match decision {
        TrialOutcome::Chosen { .. } => return None,
        TrialOutcome::Failed { .. } => "it fails",
        _ => "it chooses nobody",
    };
    Some(format!("{what} where eight workers are healthy and idle: {}", decision.text()))
}

fn slow(times: &[DecisionTime]) -> Option<String> {
    let budget = WasmPolicyConfig::DEFAULT_EXECUTION_TIME_MS;
    let slow = times.iter().find(|time| time.ns > budget * 1_000_000)?;
    Some(format!(
        "a decision over {} workers takes longer here than the default budget of {budget} ms \
         (max_execution_time_ms)",
        slow.workers
    ))
}

/// Memory after some decisions, and by how much it has grown after as many more.
fn growth(
    plugin: &TriedPlugin<'_>,
    ask: &impl Fn(DescribedRequest) -> Result<TrialDecision, String>,
) -> Result<(usize, usize), String> {
    let mut sizes = [0, 0];
    for (half, size) in sizes.iter_mut().enumerate() {
        for number in 0..GROWTH_DECISIONS {
            let key = Some(format!("session {half} {number}"));
            ask(DescribedRequest { session: key, ..text(&format!("prompt {half} {number}")) })?;
        }
        *size = plugin.memory_bytes().unwrap_or_default();
    }
    let [before, after] = sizes;
    Ok((after, after.saturating_sub(before)))
}
