//! One run: from the first request to the last token.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::engine::{EngineEvent, EnginePart, ModelWorker};
use crate::fleet::agenda::{Agenda, DueWork};
use crate::fleet::cache_news::CacheNews;
use crate::fleet::front::{ChosenWorkers, Front, seconds};
use crate::fleet::held::HeldRequests;
use crate::fleet::policy_source::FreshPolicy;
use crate::fleet::reporting::LastReport;
use crate::fleet::run_progress::RunProgress;
use crate::fleet::setup::FleetSetup;
use crate::fleet::tried_before::Settled;
use crate::fleet::upsets::Upsets;
use crate::report::{IndexSample, RunFacts, RunLedger, RunReport, SAMPLES, Slo};
use crate::rivals::EngineViews;
use crate::workload::{ArrivalTimes, Workload};
use sglang_router_rs::policies::{DecideError, WaitOffer};
use sglang_router_rs::types::VirtualTime;

/// What is the same in all runs that are compared.
#[derive(Clone, Copy, Debug)]
pub struct RunInputs<'a> {
    /// The fleet.
    pub setup: &'a FleetSetup,
    /// What is asked.
    pub workload: &'a Workload,
    /// When.
    pub arrivals: &'a ArrivalTimes,
    /// What is expected.
    pub slo: &'a Slo,
    /// Who counts how far it is, if anybody does.
    pub progress: Option<&'a RunProgress>,
}

/// Seconds after which those who are held are asked though nothing happened, as by the router.
const STIR_INTERVAL: f64 = 0.25;

/// Everything of a run.
pub(super) struct RunCourse<'a> {
    pub(super) inputs: RunInputs<'a>,
    pub(super) time: VirtualTime,
    pub(super) front: Front<'a>,
    /// What the policy sees of engines, if it is a model of another router's.
    views: Option<Arc<EngineViews>>,
    /// One of each candidate.
    pub(super) engines: Vec<ModelWorker>,
    pub(super) agenda: Agenda,
    reports: Vec<LastReport>,
    pub(super) held: HeldRequests,
    /// What befalls workers, if anything does.
    pub(super) upsets: Option<Upsets>,
    /// What engines tell of their caches, if they do.
    pub(super) news: Option<CacheNews>,
    /// Attempts so far.
    pub(super) attempts: u32,
    /// Whether those who are held are asked now and then.
    is_stirred: bool,
    /// The next of their deadlines that is on the agenda.
    deadline: f64,
    pub(super) ledger: RunLedger,
    events: Vec<EngineEvent>,
    /// Whether the policy looks at tokens as they are generated.
    counts_tokens: bool,
    pub(super) now: f64,
    /// Requests that came.
    arrived: u32,
}

/// Makes a run on this thread: all of `workload`, at these times, decided by `policy`. `facts` say what it
/// is; their seed decides what is left to chance.
pub fn run(inputs: RunInputs<'_>, policy: &FreshPolicy, facts: RunFacts) -> RunReport {
    let began = Instant::now();
    let (time, seed) = (VirtualTime::new(), facts.seed);
    // What policies draw.
    fastrand::seed(seed);
    let mut course = RunCourse::new(inputs, time, policy, seed);
    course.arrange_reports(seed);
    course.arrange_upsets(seed);
    course.pass();
    let totals = course.engines.iter().map(|engine| *engine.totals());
    course.ledger.report(facts, totals, course.now, began.elapsed())
}

impl<'a> RunCourse<'a> {
    fn new(inputs: RunInputs<'a>, time: VirtualTime, policy: &FreshPolicy, seed: u64) -> Self {
        let RunInputs { setup, workload, .. } = inputs;
        let candidates = setup.candidates();
        let front = Front::new(setup, policy, (workload, seed), time.now());
        let hears = setup.model.kv_events && policy.handle.needs().prefix_match;
        let engine = |candidate: usize| {
            let (worker, _) = setup.worker_of(candidate);
            let speed = setup.speeds.get(worker).copied().unwrap_or(1.0);
            let mut engine = ModelWorker::new(&setup.model, speed, workload).with_part(setup.part_of(worker));
            if hears {
                engine.start_log();
            }
            engine
        };
        Self {
            inputs,
            time,
            front,
            views: policy.views.clone(),
            engines: (0..candidates).map(engine).collect(),
            agenda: Agenda::new(candidates),
            reports: vec![LastReport::none(); candidates],
            held: HeldRequests::new(setup),
            upsets: Upsets::new(setup, seed),
            news: hears.then(|| CacheNews::new(workload, setup.model.kv_events_delay_ms / 1e3)),
            attempts: 0,
            is_stirred: false,
            deadline: f64::INFINITY,
            ledger: RunLedger::new(workload.len(), candidates).with_groups(workload, seed),
            events: Vec::new(),
            counts_tokens: policy.counts_tokens,
            now: 0.0,
            arrived: 0,
        }
    }

    /// Workers report at moments of their own, since they did not start together.
    fn arrange_reports(&mut self, seed: u64) {
        if self.inputs.setup.reports() {
            let mut random = fastrand::Rng::with_seed(seed ^ 0x7265_706f_7274);
            for (_, worker) in self.engines.iter().zip(0..) {
                let first = random.f64() * self.inputs.setup.report_interval;
                self.agenda.add(DueWork::Report(worker), first);
            }
        }
    }

    /// Lets time pass until everything is answered.
    fn pass(&mut self) {
        let mut arrivals = self.inputs.arrivals.order().iter().copied().peekable();
        loop {
            let due = self.agenda.next();
            match arrivals.peek() {
                Some((at, _)) if *at < due => {
                    let Some((at, request)) = arrivals.next() else { return };
                    self.set_time(at);
                    self.arrive(request);
                }
                None if self.ledger.is_complete() || due.is_infinite() => return,
                _ => self.work(due),
            }
        }
    }

    fn work(&mut self, due: f64) {
        match self.agenda.take() {
            Some(DueWork::Step(worker)) => self.end_step(worker, due),
            Some(DueWork::Report(worker)) => self.report(worker, due),
            Some(DueWork::Arrive(request)) => {
                self.set_time(due);
                self.arrive(request);
            }
            Some(DueWork::Deadline) => {
                self.set_time(due);
                self.deadline = f64::INFINITY;
                self.held.expire(due);
                self.ask_held();
            }
            Some(DueWork::Stir) => self.stir_now_and_then(due),
            Some(DueWork::Transferred(request, attempt)) => self.end_transfer(request, attempt, due),
            Some(DueWork::News) => self.hear_news(due),
            Some(DueWork::Check(worker)) => self.check(worker, due),
            Some(DueWork::Probe(candidate)) => self.probe(candidate, due),
            Some(DueWork::Upset(event)) => self.upset(event, due, false),
            Some(DueWork::Relief(event)) => self.upset(event, due, true),
            None => {}
        }
    }

    pub(super) fn set_time(&mut self, at: f64) {
        self.now = at;
        self.time.advance(moment(at));
    }

    fn arrive(&mut self, request: u32) {
        if self.counts_tokens {
            self.tell_progress();
        }
        if let Some(progress) = self.inputs.progress {
            progress.come();
        }
        self.see_index();
        self.front.arrive(self.time.now());
        let decided = self.decide(request, self.held.first_offer());
        if self.settle(request, self.now, decided) == Settled::Held {
            self.ask_held();
        }
    }

    /// Looks at the index now and then.
    fn see_index(&mut self) {
        self.arrived += 1;
        if self.arrived.is_multiple_of((self.inputs.workload.len() / SAMPLES).max(1))
            && let Some(stats) = self.front.index_stats()
        {
            self.ledger.see_index(IndexSample::of(self.now, &stats));
        }
    }

    /// Asks the policy about a request, after it was shown what it may see.
    ///
    /// # Errors
    ///
    /// [`DecideError`]: nobody is chosen.
    pub(super) fn decide(&mut self, request: u32, offer: WaitOffer) -> Result<ChosenWorkers, DecideError> {
        if let Some(views) = &self.views {
            views.update(self.now, request, &self.engines, self.inputs.workload, self.front.numbers());
        }
        self.front.decide(request, offer)
    }

    /// Asks about those who are held, as long as it is somebody's turn.
    pub(super) fn ask_held(&mut self) {
        while let Some((number, held)) = self.held.take_call() {
            let offer = self.held.offer(&held, self.now);
            match self.decide(held.request, offer) {
                Err(DecideError::Wait(wait)) => self.held.still_waits(number, &wait),
                decided => {
                    // One that failed before came earlier than it began to wait.
                    let came = self.front.tried.get(&held.request).map_or(held.since, |tried| tried.came);
                    let settled = self.settle(held.request, came, decided);
                    self.held.leave(number, settled == Settled::Placed);
                }
            }
        }
        if let Some(at) = self.held.next_deadline().filter(|at| *at < self.deadline) {
            self.deadline = at;
            self.agenda.add(DueWork::Deadline, at);
        }
    }

    pub(super) fn arrange_stirring(&mut self) {
        if !std::mem::replace(&mut self.is_stirred, true) {
            self.agenda.add(DueWork::Stir, self.now + STIR_INTERVAL);
        }
    }

    fn stir_now_and_then(&mut self, at: f64) {
        self.is_stirred = false;
        if self.held.is_empty() {
            return;
        }
        self.set_time(at);
        self.held.stir();
        self.ask_held();
        self.arrange_stirring();
    }

    fn end_step(&mut self, worker: u32, at: f64) {
        let Some(engine) = self.engines.get_mut(worker as usize) else { return };
        let mut events = std::mem::take(&mut self.events);
        engine.end_step(self.inputs.workload, &mut events);
        self.agenda.set_step(worker, engine.until());
        if let Some(news) = &mut self.news
            && let Some(arrival) = news.send(worker, engine.take_log(), at)
        {
            self.agenda.add(DueWork::News, arrival);
        }
        if !events.is_empty() {
            self.set_time(at);
        }
        for event in events.drain(..) {
            self.take_event(worker, event, at);
            self.ask_held_again();
        }
        self.events = events;
    }

    fn take_event(&mut self, worker: u32, event: EngineEvent, at: f64) {
        let is_prefill = self.part_of(worker) == EnginePart::Prefill;
        match event {
            EngineEvent::FirstToken { request, cached } if is_prefill => {
                self.front.prefilled(request, cached)
            }
            EngineEvent::Finished { request } if is_prefill => self.begin_transfer(request, at),
            EngineEvent::FirstToken { request, cached } => {
                self.front.first_token(request, cached, at, self.time.now());
            }
            EngineEvent::Finished { request } => {
                let ended = self.front.finished(request, at);
                if let Some((ended, asked)) = ended.zip(self.inputs.workload.request(request)) {
                    self.ledger.finish(&ended, asked, self.inputs.slo);
                    self.go_on(request, at);
                }
            }
        }
        if self.upsets.is_some() {
            self.note_success(worker);
        }
    }

    fn part_of(&self, candidate: u32) -> EnginePart {
        let setup = self.inputs.setup;
        if setup.model.pairs.is_none() {
            return EnginePart::Whole;
        }
        setup.part_of(setup.worker_of(candidate as usize).0)
    }

    /// Something has changed that those who are held may wait for.
    pub(super) fn ask_held_again(&mut self) {
        if !self.held.is_empty() {
            self.held.stir();
            self.ask_held();
        }
    }

    fn hear_news(&mut self, at: f64) {
        let Some((candidate, changes)) = self.news.as_mut().and_then(CacheNews::arrive) else { return };
        self.set_time(at);
        self.front.hear(candidate, &changes);
        self.ask_held_again();
    }

    fn report(&mut self, worker: u32, at: f64) {
        let Some(engine) = self.engines.get(worker as usize) else { return };
        let look = engine.look(at);
        let answers = self.upsets.as_ref().is_none_or(|upsets| upsets.answers(worker, at));
        if answers && self.reports.get(worker as usize).is_some_and(|last| last.is_above(&look)) {
            self.notice_restart(worker);
        }
        let told = self.front.worker(worker).filter(|_| answers);
        if let Some((last, told)) = self.reports.get_mut(worker as usize).zip(told) {
            let report = last.next(self.inputs.setup.model.reports, &look, at);
            self.now = at;
            self.time.advance(moment(at));
            told.set_report(&report);
        }
        self.agenda.add(DueWork::Report(worker), at + self.inputs.setup.report_interval);
    }

    fn tell_progress(&mut self) {
        for engine in &self.engines {
            for (request, tokens) in engine.progress(self.now) {
                self.front.progressed(request, tokens);
            }
        }
    }
}

/// The virtual moment so many seconds after the beginning.
fn moment(at: f64) -> Duration {
    VirtualTime::BEGINNING + seconds(at)
}
