//! A fresh plugin and a fleet, in which every answer is judged.

use std::time::Duration;

use serde_json::json;

use crate::trial::described_request::DescribedRequest;
use crate::trial::described_worker::DescribedWorker;
use crate::trial::prepared_request::PreparedRequest;
use crate::trial::trial_decision::{TrialDecision, TrialOutcome};
use crate::trial::trial_fleet::TrialFleet;
use crate::trial::tried_plugin::TriedPlugin;
use sglang_router_rs::policies::FailureCause;

/// Longer than the plugin is told late.
const BATCH: Duration = Duration::from_millis(50);

/// A fresh plugin and a fleet.
#[derive(Debug)]
pub(crate) struct KitSession<'a> {
    pub(crate) plugin: TriedPlugin<'a>,
    pub(crate) fleet: TrialFleet,
}

impl<'a> KitSession<'a> {
    /// A session over these workers.
    pub(crate) fn new(plugin: TriedPlugin<'a>, workers: &[DescribedWorker]) -> Self {
        Self { plugin, fleet: TrialFleet::new(workers) }
    }

    /// Other workers from now on.
    pub(crate) fn offer(&mut self, workers: &[DescribedWorker]) {
        self.fleet = TrialFleet::new(workers);
    }

    /// Asks, and judges the answer.
    ///
    /// # Errors
    ///
    /// What is wrong with it.
    pub(crate) fn ask(&self, request: DescribedRequest) -> Result<TrialDecision, String> {
        self.ask_prepared(&PreparedRequest::new(request, self.plugin.handle()))
    }

    /// Asks about a request of which nothing is known but a short prompt.
    ///
    /// # Errors
    ///
    /// As [`ask`](Self::ask).
    pub(crate) fn ask_plainly(&self) -> Result<TrialDecision, String> {
        self.ask(prompt("a prompt"))
    }

    /// Asks, and judges the answer.
    ///
    /// # Errors
    ///
    /// As [`ask`](Self::ask).
    pub(crate) fn ask_prepared(&self, request: &PreparedRequest) -> Result<TrialDecision, String> {
        let decision = self.plugin.decide(&self.fleet, request, false)?;
        let count = self.fleet.workers().len();
        let is_open = self.fleet.has_open(&self.fleet.offered_to(request)?);
        match &decision.outcome {
            // Where there is nobody to choose, an error says so as well as an empty answer.
            TrialOutcome::Failed { cause: FailureCause::GuestError, .. } if !is_open => Ok(decision),
            TrialOutcome::Failed { .. } => Err(format!("of {count} workers: {}", decision.outcome.text())),
            _ => Ok(decision),
        }
    }

    /// Asks, and expects one of these workers, if the request is placed.
    ///
    /// # Errors
    ///
    /// As [`ask`](Self::ask), and another choice.
    pub(crate) fn ask_for(&self, request: DescribedRequest, allowed: &[usize]) -> Result<(), String> {
        let outcome = self.ask(request)?.outcome;
        if outcome.workers().iter().all(|worker| allowed.contains(worker)) {
            return Ok(());
        }
        Err(format!("found {}; allowed: one of {allowed:?}", outcome.text()))
    }

    /// Lets what has come of requests be told, and looks whether the plugin stood it.
    ///
    /// # Errors
    ///
    /// What it failed with.
    pub(crate) fn tell(&mut self) -> Result<(), String> {
        self.plugin.advance(BATCH);
        match self.plugin.failed_tellings() {
            None => Ok(()),
            Some(failure) => Err(format!("it failed at what it was told: {failure}")),
        }
    }
}

/// So many idle workers.
pub(crate) fn idle(count: usize) -> Vec<DescribedWorker> {
    vec![DescribedWorker::default(); count]
}

/// A worker with these numbers, by the names of the inputs.
///
/// # Errors
///
/// There is no such name, which is a fault of the kit.
pub(crate) fn worker(numbers: serde_json::Value) -> Result<DescribedWorker, String> {
    serde_json::from_value(numbers).map_err(|error| format!("the kit is wrong: {error}"))
}

/// A request with this prompt.
pub(crate) fn prompt(text: &str) -> DescribedRequest {
    DescribedRequest { body: Some(json!({"prompt": text})), ..DescribedRequest::default() }
}

/// Requests whose numbers are at their edges.
pub(crate) fn odd_requests() -> Vec<DescribedRequest> {
    vec![
        DescribedRequest {
            prompt_tokens: Some(0),
            prompt_tokens_exact: true,
            max_tokens: Some(0),
            ..prompt("hi")
        },
        DescribedRequest {
            prompt_tokens: Some(u32::MAX),
            prompt_bytes: Some(usize::MAX),
            max_tokens: Some(u64::MAX),
            stream: Some(true),
            arrival_rate: Some(f32::MAX),
            waited_ms: u64::from(u32::MAX),
            may_wait_ms: Some(u64::from(u32::MAX)),
            held: u32::MAX,
            prefix_hashes: Some(vec![u64::MAX; 4096]),
            ..prompt("hi")
        },
        DescribedRequest { arrival_rate: Some(f32::NAN), ..DescribedRequest::default() },
        DescribedRequest { arrival_rate: Some(0.0), ..DescribedRequest::default() },
        DescribedRequest { arrival_rate: Some(f32::INFINITY), ..DescribedRequest::default() },
    ]
}
