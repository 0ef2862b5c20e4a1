//! One run: from the first request to the last token.

use std::time::{Duration, Instant};

use crate::engine::{EngineEvent, ModelWorker};
use crate::fleet::agenda::{Agenda, DueWork};
use crate::fleet::flights::PlacedRequest;
use crate::fleet::front::{Front, seconds};
use crate::fleet::held::HeldRequests;
use crate::fleet::policy_source::FreshPolicy;
use crate::fleet::reporting::LastReport;
use crate::fleet::setup::FleetSetup;
use crate::report::{RunFacts, RunLedger, RunReport, Slo};
use crate::workload::{ArrivalTimes, Workload};
use sglang_router_rs::policies::{Chooser, DecideError, Decision};
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
}

/// Seconds after which those who are held are asked though nothing happened, as by the router.
const STIR_INTERVAL: f64 = 0.25;

/// Everything of a run.
struct RunCourse<'a> {
    inputs: RunInputs<'a>,
    time: VirtualTime,
    front: Front<'a>,
    engines: Vec<ModelWorker>,
    agenda: Agenda,
    reports: Vec<LastReport>,
    held: HeldRequests,
    /// Whether those who are held are asked now and then.
    is_stirred: bool,
    /// The next of their deadlines that is on the agenda.
    deadline: f64,
    ledger: RunLedger,
    events: Vec<EngineEvent>,
    /// Whether the policy looks at tokens as they are generated.
    counts_tokens: bool,
    now: f64,
}

/// Makes a run on this thread: all of `workload`, at these times, decided by `policy`. `facts` say what it
/// is; their seed decides what is left to chance.
pub fn run(inputs: RunInputs<'_>, policy: &FreshPolicy, facts: RunFacts) -> RunReport {
    let began = Instant::now();
    let (time, seed) = (VirtualTime::new(), facts.seed);
    // What policies draw.
    fastrand::seed(seed);
    let mut course = RunCourse::new(inputs, time, policy);
    course.arrange_reports(seed);
    course.pass();
    let totals = course.engines.iter().map(|engine| *engine.totals());
    course.ledger.report(facts, totals, course.now, began.elapsed())
}

impl<'a> RunCourse<'a> {
    fn new(inputs: RunInputs<'a>, time: VirtualTime, policy: &FreshPolicy) -> Self {
        let RunInputs { setup, workload, .. } = inputs;
        let workers = setup.speeds.len();
        let front = Front::new(setup, policy, workload, time.now());
        let engine = |speed: &f64| ModelWorker::new(&setup.model, *speed, workload);
        Self {
            inputs,
            time,
            front,
            engines: setup.speeds.iter().map(engine).collect(),
            agenda: Agenda::new(workers),
            reports: vec![LastReport::none(); workers],
            held: HeldRequests::new(setup),
            is_stirred: false,
            deadline: f64::INFINITY,
            ledger: RunLedger::new(workload.len(), workers),
            events: Vec::new(),
            counts_tokens: policy.counts_tokens,
            now: 0.0,
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
            None => {}
        }
    }

    fn set_time(&mut self, at: f64) {
        self.now = at;
        self.time.advance(moment(at));
    }

    fn arrive(&mut self, request: u32) {
        if self.counts_tokens {
            self.tell_progress();
        }
        self.front.arrive(self.time.now());
        let offer = self.held.first_offer();
        match self.front.decide(request, offer) {
            Err(DecideError::Wait(wait)) => {
                if self.held.hold(request, self.now, &wait) {
                    self.ledger.hold();
                    self.arrange_stirring();
                    return self.ask_held();
                }
                // There is no place: it is asked once more.
                let decided = self.front.decide(request, self.held.last_offer());
                self.place(request, self.now, decided);
            }
            decided => {
                self.place(request, self.now, decided);
            }
        }
    }

    /// Sends a request to the worker that was chosen for it, if one was.
    fn place(&mut self, request: u32, came: f64, decided: Result<Decision, DecideError>) -> bool {
        let Ok(decision) = decided else {
            self.refuse(request);
            return false;
        };
        if let Chooser::Fallback { cause } = decision.chooser() {
            self.ledger.fall_back(cause);
        }
        let placed = PlacedRequest::new(decision, came, self.now);
        let worker = placed.worker;
        let (now, workload) = (self.now, self.inputs.workload);
        let engine = self.engines.get_mut(worker as usize);
        let Some(engine) = engine.and_then(|engine| engine.enqueue(now, request, workload).then_some(engine))
        else {
            self.refuse(request);
            return false;
        };
        self.agenda.set_step(worker, engine.until());
        self.front.send(request, placed, self.time.now());
        true
    }

    /// A request is not answered, and its session ends with that.
    fn refuse(&mut self, request: u32) {
        self.ledger.refuse();
        let next = |request: &u32| self.inputs.workload.next_turn(*request);
        let unasked = std::iter::successors(next(&request), next).count();
        self.ledger.leave_out(unasked as u64);
    }

    /// A request is answered: who follows it thinks about that.
    fn go_on(&mut self, request: u32, at: f64) {
        let workload = self.inputs.workload;
        let next = workload.next_turn(request);
        if let Some((next, turn)) = next.and_then(|next| Some((next, workload.turn(next)?))) {
            self.agenda.add(DueWork::Arrive(next), at + turn.think);
        }
    }

    /// Asks about those who are held, as long as it is somebody's turn.
    fn ask_held(&mut self) {
        while let Some((number, held)) = self.held.take_call() {
            let offer = self.held.offer(&held, self.now);
            match self.front.decide(held.request, offer) {
                Err(DecideError::Wait(wait)) => self.held.still_waits(number, &wait),
                decided => {
                    let placed = self.place(held.request, held.since, decided);
                    self.held.leave(number, placed);
                }
            }
        }
        if let Some(at) = self.held.next_deadline().filter(|at| *at < self.deadline) {
            self.deadline = at;
            self.agenda.add(DueWork::Deadline, at);
        }
    }

    fn arrange_stirring(&mut self) {
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
        if !events.is_empty() {
            self.set_time(at);
        }
        for event in events.drain(..) {
            match event {
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
            if !self.held.is_empty() {
                self.held.stir();
                self.ask_held();
            }
        }
        self.events = events;
    }

    fn report(&mut self, worker: u32, at: f64) {
        let Some(engine) = self.engines.get(worker as usize) else { return };
        let look = engine.look(at);
        if let Some((last, told)) = self.reports.get_mut(worker as usize).zip(self.front.worker(worker)) {
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
