//! The running of cases.

use std::collections::{HashMap, VecDeque};
use std::path::Path;
use std::time::Duration;

use serde::Serialize;
use serde_json::{Value, json};

use crate::trial::cases::case_file::{CaseStep, WrittenCase};
use crate::trial::cases::expectation::{Compared, Expectation};
use crate::trial::described_request::WorkerName;
use crate::trial::prepared_request::PreparedRequest;
use crate::trial::trial_decision::TrialDecision;
use crate::trial::trial_fleet::TrialFleet;
use crate::trial::tried_plugin::{TrialEngine, TrialSettings, TriedPlugin};
use sglang_router_rs::policies::ModuleBytes;
use sglang_router_rs::types::in_full;

/// Longer than a plugin is told late.
const BATCH: Duration = Duration::from_millis(25);

/// Decisions of a step at most.
const MAX_TIMES: u32 = 10_000_000;

/// What was found of a case.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct CaseFinding {
    /// Its name.
    pub(crate) case: String,
    pub(crate) passed: bool,
    /// Why it could not be run to its end, if so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) fault: Option<String>,
    /// What was expected and found, in order.
    pub(crate) expectations: Vec<ExpectationFinding>,
}

/// What was expected of a step, and found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct ExpectationFinding {
    /// The number of the step, from 1 on.
    pub(crate) step: usize,
    pub(crate) expected: String,
    pub(crate) found: String,
    pub(crate) passed: bool,
}

/// A plugin and its fleet in the middle of a case.
struct RunningCase<'a> {
    plugin: TriedPlugin<'a>,
    fleet: TrialFleet,
    kept: HashMap<String, VecDeque<TrialDecision>>,
}

/// Runs a case from a file in `folder` with a fresh plugin.
pub(crate) fn run_case(
    engine: &TrialEngine,
    module: &ModuleBytes,
    settings: &TrialSettings,
    folder: &Path,
    case: WrittenCase,
) -> CaseFinding {
    let name = case.name.clone();
    let mut expectations = Vec::new();
    let fault = steps(engine, module, settings, folder, case, &mut expectations).err();
    let passed = fault.is_none() && expectations.iter().all(|finding| finding.passed);
    CaseFinding { case: name, passed, fault, expectations }
}

fn steps(
    engine: &TrialEngine,
    module: &ModuleBytes,
    settings: &TrialSettings,
    folder: &Path,
    case: WrittenCase,
    found: &mut Vec<ExpectationFinding>,
) -> Result<(), String> {
    let fleet = TrialFleet::new(&case.fleet(folder)?);
    let mut settings = settings.clone();
    settings.config.extend(case.config.clone());
    settings.seed = case.seed.unwrap_or(settings.seed);
    let plugin =
        engine.load(module, &settings).map_err(|error| format!("it is not loaded: {}", in_full(&error)))?;
    let mut running = RunningCase { plugin, fleet, kept: HashMap::new() };
    for (index, step) in case.into_steps()?.into_iter().enumerate() {
        let number = index + 1;
        let compared = running.step(step).map_err(|fault| format!("step {number}: {fault}"))?;
        found.extend(compared.into_iter().map(|Compared { expected, found, holds }| ExpectationFinding {
            step: number,
            expected,
            found,
            passed: holds,
        }));
    }
    Ok(())
}

impl RunningCase<'_> {
    fn step(&mut self, step: CaseStep) -> Result<Vec<Compared>, String> {
        self.change_fleet(&step)?;
        if step.advance_ms > 0 {
            self.plugin.advance(Duration::from_millis(step.advance_ms));
        }
        self.go_on(&step)?;
        if step.swap {
            self.plugin.swap().map_err(|error| format!("swap: {}", in_full(&error)))?;
        }
        let CaseStep { request, times, keep, expect, .. } = step;
        let Some(request) = request else {
            let needless = expect.is_some() || times.is_some() || keep.is_some();
            return if needless {
                Err("expect, times and keep go with a request".to_owned())
            } else {
                Ok(Vec::new())
            };
        };
        let times = times.unwrap_or(1);
        let expect = expect.unwrap_or_default();
        check_times(times, &expect)?;
        let request = PreparedRequest::new(request, self.plugin.handle());
        let mut decided = Vec::new();
        for _ in 0..times {
            let mut decision = self
                .plugin
                .decide(&self.fleet, &request, false)
                .map_err(|fault| format!("request: {fault}"))?;
            if keep.is_none() {
                // It has ended before the next one comes.
                decision.in_flight.clear();
            }
            decided.push(decision);
        }
        let compared = expect.compare(&self.fleet, &decided).map_err(|fault| format!("expect.{fault}"))?;
        if let Some(name) = keep {
            self.kept.entry(name).or_default().extend(decided);
        }
        Ok(compared)
    }

    fn change_fleet(&mut self, step: &CaseStep) -> Result<(), String> {
        for name in &step.remove {
            let place = self.fleet.place(name).map_err(|fault| format!("remove: {fault}"))?;
            self.fleet.remove(place);
        }
        for worker in &step.add {
            if let Some(fault) = worker.0.fault() {
                return Err(format!("add.{fault}"));
            }
            self.fleet.add(&worker.0);
        }
        for worker in &step.set {
            let url = worker.url.clone().ok_or("set: it has no url, which says whose numbers change")?;
            let place = self.fleet.place(&WorkerName::Url(url)).map_err(|fault| format!("set: {fault}"))?;
            if worker.has_facts() || worker.has_books() {
                return Err("set: facts of a worker do not change, nor what the router's own books say; remove it and \
                            add another"
                    .to_owned());
            }
            self.fleet.show(place, worker);
        }
        Ok(())
    }

    /// Requests that were kept go on.
    fn go_on(&mut self, step: &CaseStep) -> Result<(), String> {
        let told: Value = step.outcome.clone().unwrap_or_else(|| json!({}));
        if let Some(name) = &step.first_token {
            let decision = self.kept.get_mut(name).and_then(VecDeque::front_mut);
            let decision = decision.ok_or_else(|| format!("first_token: no request is kept as {name:?}"))?;
            self.plugin.first_token(decision, &told).map_err(|fault| format!("outcome: {fault}"))?;
        }
        if let Some(name) = &step.complete {
            let decision = self.kept.get_mut(name).and_then(VecDeque::pop_front);
            let decision = decision.ok_or_else(|| format!("complete: no request is kept as {name:?}"))?;
            self.plugin.complete(decision, &told).map_err(|fault| format!("outcome: {fault}"))?;
        }
        if let Some(session) = &step.end_session {
            self.plugin.end_session(session);
        }
        if step.first_token.is_some() || step.complete.is_some() || step.end_session.is_some() {
            self.plugin.advance(BATCH);
            if let Some(failure) = self.plugin.failed_tellings() {
                return Err(format!("the plugin failed at what it was told: {failure}"));
            }
        }
        Ok(())
    }
}

fn check_times(times: u32, expect: &Expectation) -> Result<(), String> {
    if times == 0 || times > MAX_TIMES {
        return Err(format!("times: found {times}; allowed: 1 to {MAX_TIMES}"));
    }
    if times == 1 && expect.is_of_many() {
        return Err("times: order and shares are of several decisions; say how many".to_owned());
    }
    Ok(())
}
