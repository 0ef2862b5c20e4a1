//! `run`: decisions of a module over workers that an author describes.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};

use crate::cli::plugin::command_error::CommandError;
use crate::cli::plugin::decision_text;
use crate::cli::plugin::decision_views::{DecisionView, DecisionsView, OutcomeShare, RequestOutcomes};
use crate::cli::plugin::output::print;
use crate::cli::plugin::trial_args::DecisionArgs;
use crate::cli::plugin::tried_module::{trial_settings, tried_module, untried};
use crate::trial::described_fleet::described_fleet;
use crate::trial::described_request::{DescribedRequest, described_requests};
use crate::trial::described_worker::DescribedWorker;
use crate::trial::prepared_request::PreparedRequest;
use crate::trial::trial_decision::{TrialDecision, TrialOutcome};
use crate::trial::trial_fleet::TrialFleet;
use crate::trial::tried_plugin::{TrialEngine, TriedPlugin};
use sglang_router_rs::types::shown_path;

/// Decides and prints. Must not be called inside a runtime.
///
/// # Errors
///
/// [`CommandError::Undecided`] if the plugin failed, [`CommandError::Untried`] if it cannot be loaded,
/// [`CommandError::Usage`] for a file that cannot be read.
pub(crate) fn decide_once(
    args: &DecisionArgs,
    authorities: &[PathBuf],
    json: bool,
) -> Result<(), CommandError> {
    let workers = workers_of(&args.workers)?;
    let requests = requests_of(args.request.as_deref())?;
    let module = tried_module(&args.file, &args.trial, authorities)?;
    let settings = trial_settings(&args.trial, args.seed)?;
    let engine = TrialEngine::new()?;
    let plugin = engine.load(&module, &settings).map_err(|error| untried(&args.file, &error))?;
    let fleet = TrialFleet::new(&workers);
    let mut decided = Vec::with_capacity(requests.len());
    for (index, request) in requests.into_iter().enumerate() {
        let request = PreparedRequest::new(request, plugin.handle());
        let outcomes = outcomes(&plugin, &fleet, &request, args);
        decided
            .push(outcomes.map_err(|fault| CommandError::Usage(format!("--request: [{index}]: {fault}")))?);
    }
    let urls = (0..fleet.workers().len()).map(|place| fleet.url(place).to_owned()).collect();
    let file = args.file.to_string_lossy().into_owned();
    let view = DecisionsView { file, workers: urls, seed: args.seed, requests: decided };
    print(&view, json, decision_text::text)?;
    let failed = view.requests.iter().filter(|request| request.failed()).count();
    if failed == 0 { Ok(()) } else { Err(CommandError::Undecided { failed, asked: view.requests.len() }) }
}

fn outcomes(
    plugin: &TriedPlugin<'_>,
    fleet: &TrialFleet,
    request: &PreparedRequest,
    args: &DecisionArgs,
) -> Result<RequestOutcomes, String> {
    let TrialDecision { outcome, explained, told, .. } = plugin.decide(fleet, request, args.explain)?;
    let mut counts: BTreeMap<String, (TrialOutcome, u32)> = BTreeMap::new();
    let mut count = |outcome: TrialOutcome| {
        counts.entry(place(&outcome)).or_insert((outcome, 0)).1 += 1;
    };
    count(outcome.clone());
    for _ in 1..args.times {
        count(plugin.decide(fleet, request, false)?.outcome);
    }
    let share = |(outcome, times): (TrialOutcome, u32)| OutcomeShare {
        outcome,
        times,
        share: f64::from(times) / f64::from(args.times),
    };
    let mut shares: Vec<OutcomeShare> = counts.into_values().map(share).collect();
    shares.sort_by_key(|share| std::cmp::Reverse(share.times));
    if args.times == 1 {
        shares.clear();
    }
    let first = DecisionView { outcome, scores: explained.scores, reason: explained.reason, told };
    Ok(RequestOutcomes { first, shares })
}

/// What counts as the same outcome: the workers, whatever was said with them.
fn place(outcome: &TrialOutcome) -> String {
    match outcome {
        TrialOutcome::Chosen { workers, .. } => format!("{workers:?}"),
        other => other.text(),
    }
}

/// The workers of a file, or so many idle ones.
///
/// # Errors
///
/// [`CommandError::Usage`] names the file and what is wrong.
pub(crate) fn workers_of(given: &str) -> Result<Vec<DescribedWorker>, CommandError> {
    if let Ok(count) = given.parse::<usize>()
        && !Path::new(given).exists()
    {
        let many = vec![DescribedWorker::default(); count.min(100_000)];
        return Ok(many);
    }
    let text = read(Path::new(given)).map_err(|fault| CommandError::Usage(format!("--workers: {fault}")))?;
    described_fleet(&text)
        .map_err(|fault| CommandError::Usage(format!("--workers: {}: {fault}", shown_path(Path::new(given)))))
}

fn requests_of(given: Option<&Path>) -> Result<Vec<DescribedRequest>, CommandError> {
    let Some(path) = given else { return Ok(vec![DescribedRequest::default()]) };
    let text = read(path).map_err(|fault| CommandError::Usage(format!("--request: {fault}")))?;
    described_requests(&text)
        .map_err(|fault| CommandError::Usage(format!("--request: {}: {fault}", shown_path(path))))
}

fn read(path: &Path) -> Result<String, String> {
    let read = if path.as_os_str() == "-" {
        let mut text = String::new();
        std::io::stdin().lock().read_to_string(&mut text).map(|_| text)
    } else {
        std::fs::read_to_string(path)
    };
    read.map_err(|error| format!("{}: {error}", shown_path(path)))
}
