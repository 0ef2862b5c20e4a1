//! What befalls workers in a run, and what the router notices of it.

use crate::engine::{ReportedLoad, WorkerEvent, WorkerEventKind};
use crate::fleet::agenda::DueWork;
use crate::fleet::run::RunCourse;
use crate::fleet::tried_before::AttemptFailure;

/// Seconds for which a circuit is open, as of the router.
const CIRCUIT_OPEN: f64 = 10.0;
/// The status of an answer that broke off.
const BROKE_OFF: u16 = 502;

impl RunCourse<'_> {
    /// Puts what befalls workers on the agenda, and the checks of their health.
    pub(super) fn arrange_upsets(&mut self, seed: u64) {
        let setup = self.inputs.setup;
        let Some(upsets) = &self.upsets else { return };
        for (event, number) in upsets.events.iter().zip(0..) {
            self.agenda.add(DueWork::Upset(number), event.at);
            if let Some(secs) = event.secs {
                self.agenda.add(DueWork::Relief(number), event.at + secs);
            }
        }
        let mut random = fastrand::Rng::with_seed(seed ^ 0x6368_6563_6b73);
        for (_, worker) in setup.speeds.iter().zip(0..) {
            if setup.health_interval > 0.0 {
                self.agenda.add(DueWork::Check(worker), random.f64() * setup.health_interval);
            }
        }
        for worker in (0..setup.speeds.len()).filter(|worker| setup.joins_later(*worker)) {
            for candidate in setup.candidates_of(u32::try_from(worker).unwrap_or(u32::MAX)) {
                self.front.leave(candidate);
            }
        }
    }

    /// An event happens, or is over.
    pub(super) fn upset(&mut self, number: u32, at: f64, is_over: bool) {
        let event = self.upsets.as_ref().and_then(|upsets| upsets.events.get(number as usize)).cloned();
        let Some(event) = event else { return };
        self.set_time(at);
        for worker in &event.workers {
            for candidate in self.inputs.setup.candidates_of(*worker) {
                self.befall(candidate, *worker, &event, is_over);
            }
        }
        // After all of its ranks are down: none of them is tried then.
        if event.what == WorkerEventKind::Crash && !is_over {
            for worker in &event.workers {
                self.inputs.setup.candidates_of(*worker).for_each(|candidate| self.lose(candidate));
            }
        }
        self.ask_held_again();
    }

    fn befall(&mut self, candidate: u32, worker: u32, event: &WorkerEvent, is_over: bool) {
        let now = self.now;
        let own_speed = self.inputs.setup.speeds.get(worker as usize).copied().unwrap_or(1.0);
        let Some(engine) = self.engines.get_mut(candidate as usize) else { return };
        let Some(condition) = self.upsets.as_mut().and_then(|upsets| upsets.condition(candidate)) else {
            return;
        };
        match event.what {
            WorkerEventKind::Slow => {
                engine.set_speed(now, if is_over { own_speed } else { event.speed.unwrap_or(own_speed) });
            }
            WorkerEventKind::Crash if is_over => condition.is_down = false,
            WorkerEventKind::Crash => {
                condition.is_down = true;
                condition.is_unnoticed = true;
                engine.crash(now);
            }
            WorkerEventKind::Hang => {
                if let Some(secs) = event.secs.filter(|_| !is_over && !condition.is_down) {
                    condition.hangs_until = now + secs;
                    engine.pause(now, secs);
                }
            }
            WorkerEventKind::Fail => {
                condition.fail_share = if is_over { 0.0 } else { event.share.unwrap_or(1.0) };
            }
            WorkerEventKind::Leave => self.front.leave(candidate),
            WorkerEventKind::Join => {
                if engine.until().is_infinite() {
                    engine.crash(now);
                }
                self.front.join(candidate);
            }
        }
        let until = engine.until();
        self.agenda.set_step(candidate, until);
        if event.what == WorkerEventKind::Crash
            && !is_over
            && let Some(news) = &mut self.news
        {
            // A stream of events that ends says at once that all is gone.
            news.forget(candidate);
            self.front.forget(candidate);
        }
    }

    /// What a candidate did is cut off: those who wait for their first token are tried elsewhere.
    fn lose(&mut self, candidate: u32) {
        for request in self.front.flights.of_candidate(candidate) {
            let Some(placed) = self.front.flights.leave(request) else { continue };
            let (came, had_begun, first) = (placed.came, !placed.first_token.is_nan(), placed.first());
            if placed.worker == candidate
                && first != candidate
                && placed.needs(first)
                && let Some(engine) = self.engines.get_mut(first as usize)
            {
                engine.cancel(self.now, request);
                self.agenda.set_step(first, engine.until());
            }
            self.front.failed(placed, candidate, BROKE_OFF, self.now);
            self.note_failure(candidate);
            if had_begun || !self.may_retry(request, came, candidate, AttemptFailure::Broken) {
                self.fail(request);
                continue;
            }
            let decided = self.decide(request, self.held.first_offer());
            self.settle(request, came, decided);
        }
    }

    /// A candidate failed at a request: that may open its circuit.
    pub(super) fn note_failure(&mut self, candidate: u32) {
        let Some(condition) = self.upsets.as_mut().and_then(|upsets| upsets.condition(candidate)) else {
            return;
        };
        if condition.fail() {
            self.agenda.add(DueWork::Probe(candidate), self.now + CIRCUIT_OPEN);
        }
        self.show_health(candidate);
    }

    /// It did its part at one.
    pub(super) fn note_success(&mut self, candidate: u32) {
        if let Some(condition) = self.upsets.as_mut().and_then(|upsets| upsets.condition(candidate)) {
            condition.succeed();
            self.show_health(candidate);
        }
    }

    /// Tells policies whether it may be chosen.
    pub(super) fn show_health(&mut self, candidate: u32) {
        let Some(condition) = self.upsets.as_mut().and_then(|upsets| upsets.condition(candidate)) else {
            return;
        };
        let is_fit = condition.is_fit();
        if let Some(worker) = self.front.worker(candidate) {
            worker.set_healthy(is_fit);
        }
    }

    pub(super) fn probe(&mut self, candidate: u32, at: f64) {
        self.set_time(at);
        if let Some(condition) = self.upsets.as_mut().and_then(|upsets| upsets.condition(candidate)) {
            condition.may_be_probed();
        }
        self.show_health(candidate);
        self.ask_held_again();
    }

    pub(super) fn check(&mut self, worker: u32, at: f64) {
        self.set_time(at);
        for candidate in self.inputs.setup.candidates_of(worker) {
            let Some(condition) = self.upsets.as_mut().and_then(|upsets| upsets.condition(candidate)) else {
                continue;
            };
            condition.check(at);
            // It takes no connections: it is dead.
            if condition.is_down && std::mem::take(&mut condition.is_unnoticed) {
                self.front.forget(candidate);
            }
            self.show_health(candidate);
        }
        self.ask_held_again();
        self.agenda.add(DueWork::Check(worker), at + self.inputs.setup.health_interval);
    }

    /// A candidate reports that it has generated fewer tokens than before: it began anew between two checks.
    pub(super) fn notice_restart(&mut self, candidate: u32) {
        if self.inputs.setup.model.reports != ReportedLoad::Vllm {
            return;
        }
        let condition = self.upsets.as_mut().and_then(|upsets| upsets.condition(candidate));
        if condition.is_some_and(|condition| std::mem::take(&mut condition.is_unnoticed)) {
            self.front.forget(candidate);
        }
    }
}
