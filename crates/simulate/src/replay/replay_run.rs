//! Reads records and has each decision made again.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::io::BufRead;
use std::time::Duration;

use tokio::runtime::Runtime;

use crate::engine::EngineModel;
use crate::replay::contender::Contender;
use crate::replay::difference::{ComparedSide, example, reason};
use crate::replay::missing_inputs::InputTally;
use crate::replay::placement_figures::PlacementFigures;
use crate::replay::recorded_fleet::RecordedFleet;
use crate::replay::records_in_order::RecordsInOrder;
use crate::replay::replay_choice::{ReplayAnswer, ReplayChoice};
use crate::replay::replay_report::{ModuleReport, ReasonCount, RecordsReport, ReferenceReport, ReplayReport};
use crate::replay::replayed_request::{ReplayedRequest, has_choice};
use crate::replay::worker_signal::WorkerSignal;
use sgl_api::{DecisionRecord, RecordLines, RequestRecord};
use sgl_tools::load::Times;
use sglang_router_rs::types::VirtualTime;

/// Workers that are counted.
const MAX_WORKERS: usize = 100_000;
/// The name of what was recorded.
const RECORDED: &str = "recorded";

/// Who decides again, and what is told of it.
#[derive(Debug)]
pub struct ReplayPlan {
    /// What the others are compared with; `None` = what was recorded.
    pub against: Option<Contender>,
    /// The others.
    pub modules: Vec<Contender>,
    /// By what times to the first token are estimated.
    pub model: EngineModel,
    /// Examples of each kind of difference.
    pub examples: usize,
}

/// A policy and what was found of it so far.
#[derive(Debug)]
struct ComparedPolicy {
    contender: Contender,
    signals: Vec<WorkerSignal>,
    inputs: InputTally,
    figures: PlacementFigures,
    alike: u64,
    reasons: BTreeMap<String, ReasonCount>,
    /// Sum and count of changes of the time to the first token.
    change: (f64, u64),
}

/// What was recorded, as one side.
#[derive(Debug, Default)]
struct RecordedOutcomes {
    figures: PlacementFigures,
    first_bytes: Times,
    cached: u64,
    prompts: u64,
}

/// A replay under way.
struct ReplayCourse {
    runtime: Runtime,
    time: VirtualTime,
    fleet: RecordedFleet,
    model: EngineModel,
    examples: usize,
    against: Option<ComparedPolicy>,
    seats: Vec<ComparedPolicy>,
    recorded: RecordedOutcomes,
    all_signals: Vec<WorkerSignal>,
    report: RecordsReport,
    workers: BTreeSet<String>,
}

/// Has all decisions of these records made again, on this thread. `progress` is told now and then how many
/// bytes and requests were read.
///
/// # Errors
///
/// What the system says of the file.
pub fn replay<R: BufRead>(
    plan: ReplayPlan,
    lines: RecordLines<R>,
    mut progress: impl FnMut(u64, u64),
) -> io::Result<ReplayReport> {
    let mut course = ReplayCourse::new(plan)?;
    let mut records = RecordsInOrder::new(lines);
    while let Some(record) = records.next_record()? {
        course.take(&record);
        progress(records.bytes(), course.report.requests);
    }
    course.report.skipped = records.skipped().clone();
    Ok(course.into_report())
}

impl ComparedPolicy {
    fn new(contender: Contender) -> Self {
        let inputs = contender.inputs();
        Self {
            signals: WorkerSignal::seen(&inputs),
            inputs: InputTally::new(inputs),
            contender,
            figures: PlacementFigures::default(),
            alike: 0,
            reasons: BTreeMap::new(),
            change: (0.0, 0),
        }
    }

    fn side<'a>(&'a self, answered: &'a ReplayAnswer) -> ComparedSide<'a> {
        ComparedSide { answered, signals: &self.signals }
    }

    #[expect(clippy::cast_precision_loss, reason = "counts are far below 2^53")]
    fn report(self, decisions: u64, workers: usize) -> ModuleReport {
        let mut reasons: Vec<ReasonCount> = self.reasons.into_values().collect();
        reasons.sort_by_key(|reason| std::cmp::Reverse(reason.decisions));
        let (sum, count) = self.change;
        ModuleReport {
            name: self.contender.name().to_owned(),
            alike: self.alike,
            agreement: self.alike as f64 / decisions.max(1) as f64,
            reasons,
            affected: self.inputs.affected(),
            missing: self.inputs.missing(),
            figures: self.figures.summary(workers),
            ttft_change_ms: (count > 0).then(|| sum / count as f64 * 1e3),
        }
    }
}

impl ReplayCourse {
    fn new(plan: ReplayPlan) -> io::Result<Self> {
        Ok(Self {
            runtime: tokio::runtime::Builder::new_current_thread().enable_all().build()?,
            time: VirtualTime::new(),
            fleet: RecordedFleet::default(),
            model: plan.model,
            examples: plan.examples,
            against: plan.against.map(ComparedPolicy::new),
            seats: plan.modules.into_iter().map(ComparedPolicy::new).collect(),
            recorded: RecordedOutcomes::default(),
            all_signals: WorkerSignal::all(),
            report: RecordsReport::default(),
            workers: BTreeSet::new(),
        })
    }

    fn take(&mut self, record: &RequestRecord) {
        let report = &mut self.report;
        report.requests += 1;
        report.with_all_inputs += u64::from(!record.inputs.is_declared());
        let came = record.time_unix_ms;
        let from = *report.from_unix_ms.get_or_insert(came);
        // One that was read too late to be in order is decided in the present.
        let now = report.to_unix_ms.map_or(came, |last| last.max(came));
        report.to_unix_ms = Some(now);
        self.time.advance(VirtualTime::BEGINNING + Duration::from_millis(now.saturating_sub(from)));
        self.recorded.hear(record);
        for (number, decision) in record.decisions.iter().enumerate() {
            self.decide(record, number, decision);
        }
    }

    fn decide(&mut self, record: &RequestRecord, number: usize, decision: &DecisionRecord) {
        if !has_choice(decision) {
            self.report.without_choice += 1;
            return;
        }
        let Some(recorded) = ReplayAnswer::recorded(decision) else {
            self.report.incomplete += 1;
            return;
        };
        self.report.decisions += 1;
        self.report.cut_short += u64::from(decision.workers > decision.candidates.len());
        for candidate in &decision.candidates {
            if self.workers.len() < MAX_WORKERS && !self.workers.contains(&candidate.url) {
                self.workers.insert(candidate.url.clone());
            }
        }
        let workers = self.fleet.show(decision);
        let request = ReplayedRequest::new(record, decision);
        let (runtime, model) = (&self.runtime, &self.model);
        let answer = |seat: &mut ComparedPolicy| {
            seat.inputs.look(record, decision);
            let answered = seat.contender.decide(runtime, &workers, &request);
            let ttft = seat.figures.count(model, record, decision, &answered);
            (answered, ttft)
        };
        let (reference, signals) = match &mut self.against {
            Some(seat) => (answer(seat), &seat.signals),
            None => {
                let ttft = self.recorded.figures.count(model, record, decision, &recorded);
                ((recorded, ttft), &self.all_signals)
            }
        };
        for seat in &mut self.seats {
            let own = answer(seat);
            let side = ComparedSide { answered: &reference.0, signals };
            seat.compare((record, number, decision), (side, reference.1), &own, self.examples);
        }
    }

    fn into_report(self) -> ReplayReport {
        let (decisions, workers) = (self.report.decisions, self.workers.len());
        let recorded = self.recorded;
        let reference = match self.against {
            Some(seat) => ReferenceReport {
                name: seat.contender.name().to_owned(),
                figures: seat.figures.summary(workers),
                affected: seat.inputs.affected(),
                missing: seat.inputs.missing(),
                measured_ttft_ms: None,
                measured_hit_rate: None,
            },
            None => ReferenceReport {
                name: RECORDED.to_owned(),
                figures: recorded.figures.summary(workers),
                affected: 0,
                missing: Vec::new(),
                measured_ttft_ms: recorded.first_bytes.quantiles(),
                measured_hit_rate: recorded.hit_rate(),
            },
        };
        let modules = self.seats.into_iter().map(|seat| seat.report(decisions, workers)).collect();
        ReplayReport { records: RecordsReport { workers, ..self.report }, reference, modules }
    }
}

impl ComparedPolicy {
    /// Compares its choice with another.
    fn compare(
        &mut self,
        (record, number, decision): (&RequestRecord, usize, &DecisionRecord),
        (reference, before): (ComparedSide<'_>, Option<f64>),
        (answered, after): &(ReplayAnswer, Option<f64>),
        examples: usize,
    ) {
        if answered.choice == reference.answered.choice {
            self.alike += 1;
            return;
        }
        let is_placed = |answered: &ReplayAnswer| matches!(answered.choice, ReplayChoice::Placed(_));
        if let (Some(before), Some(after), true, true) =
            (before, *after, is_placed(reference.answered), is_placed(answered))
        {
            self.change = (self.change.0 + after - before, self.change.1 + 1);
        }
        let own = self.side(answered);
        let reason = reason(decision, reference, own);
        let shown = self.reasons.get(&reason).map_or(0, |known| known.examples.len());
        let example = (shown < examples).then(|| example(record, number, decision, reference, own));
        let counted = self.reasons.entry(reason.clone()).or_insert_with(|| ReasonCount {
            reason,
            decisions: 0,
            examples: Vec::new(),
        });
        counted.decisions += 1;
        counted.examples.extend(example);
    }
}

impl RecordedOutcomes {
    /// Notes what came of a request.
    fn hear(&mut self, record: &RequestRecord) {
        let outcome = &record.outcome;
        let is_stream = record.decisions.iter().any(|decision| decision.request.stream);
        if let Some(first) = outcome.first_byte_ms.filter(|_| is_stream) {
            self.first_bytes.record(Duration::try_from_secs_f64(first / 1e3).unwrap_or_default());
        }
        if let (Some(prompt), Some(cached)) = (outcome.prompt_tokens, outcome.cached_tokens) {
            self.prompts += u64::from(prompt);
            self.cached += u64::from(cached.min(prompt));
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "counts are far below 2^53")]
    fn hit_rate(&self) -> Option<f64> {
        (self.prompts > 0).then(|| self.cached as f64 / self.prompts as f64)
    }
}
