//! Attempts: a request goes to whom a policy chose, and perhaps to another then.

use crate::fleet::agenda::DueWork;
use crate::fleet::flights::PlacedRequest;
use crate::fleet::front::ChosenWorkers;
use crate::fleet::run::RunCourse;
use crate::fleet::tried_before::{AttemptFailure, Settled, TriedBefore};
use crate::report::RefusalCause;
use sglang_router_rs::policies::{Chooser, DecideError};

impl RunCourse<'_> {
    /// Does what was decided about a request that came then.
    pub(super) fn settle(
        &mut self,
        request: u32,
        came: f64,
        mut decided: Result<ChosenWorkers, DecideError>,
    ) -> Settled {
        loop {
            let chosen = match decided {
                Ok(chosen) => chosen,
                Err(DecideError::Wait(wait)) if self.held.hold(request, self.now, &wait) => {
                    self.ledger.hold();
                    self.arrange_stirring();
                    return Settled::Held;
                }
                Err(DecideError::Wait(_)) => {
                    // There is no place: it is asked once more.
                    match self.decide(request, self.held.last_offer()) {
                        Ok(chosen) => chosen,
                        Err(why) => return self.end_unplaced(request, &why),
                    }
                }
                Err(why) => return self.end_unplaced(request, &why),
            };
            match self.attempt(request, came, chosen) {
                Ok(true) => return Settled::Placed,
                Ok(false) => {
                    self.refuse(request, RefusalCause::TooLarge);
                    return Settled::Over;
                }
                Err((culprit, failure)) => {
                    if !self.may_retry(request, came, culprit, failure) {
                        self.fail(request);
                        return Settled::Over;
                    }
                }
            }
            decided = self.decide(request, self.held.first_offer());
        }
    }

    /// Nobody is chosen: of one that was tried before, that counts.
    fn end_unplaced(&mut self, request: u32, why: &DecideError) -> Settled {
        let shed = matches!(why, DecideError::Shed { .. } | DecideError::Refused { .. });
        let cause = if shed { RefusalCause::Shed } else { RefusalCause::Unplaced };
        if self.front.tried.contains_key(&request) {
            self.fail(request)
        } else {
            self.refuse(request, cause)
        }
        Settled::Over
    }

    /// Sends a request to whom was chosen for it; false if that worker could never serve it.
    ///
    /// # Errors
    ///
    /// The candidate that failed at once.
    fn attempt(
        &mut self,
        request: u32,
        came: f64,
        chosen: ChosenWorkers,
    ) -> Result<bool, (u32, AttemptFailure)> {
        let mut placed = self.placed(came, chosen);
        self.attempts += 1;
        placed.attempt = self.attempts;
        if let Some(upsets) = &mut self.upsets
            && let Some((culprit, failure)) = upsets.meet(&placed, self.now)
        {
            let status = if failure == AttemptFailure::Error { 500 } else { 502 };
            self.front.failed(placed, culprit, status, self.now);
            self.note_failure(culprit);
            return Err((culprit, failure));
        }
        let (now, workload, first) = (self.now, self.inputs.workload, placed.first());
        let last = self.engines.get(placed.worker as usize);
        if first != placed.worker && !last.is_some_and(|engine| engine.can_serve(request, workload)) {
            return Ok(false);
        }
        let engine = self.engines.get_mut(first as usize);
        let Some(engine) = engine.and_then(|engine| engine.enqueue(now, request, workload).then_some(engine))
        else {
            return Ok(false);
        };
        self.agenda.set_step(first, engine.until());
        self.ledger.send(first, now);
        if first != placed.worker {
            self.ledger.send(placed.worker, now);
        }
        self.front.send(request, placed, self.time.now());
        Ok(true)
    }

    fn placed(&mut self, came: f64, chosen: ChosenWorkers) -> PlacedRequest {
        let (last, prefill) = match chosen {
            ChosenWorkers::Single(decision) => (decision, None),
            ChosenWorkers::Pair(pair) => (pair.decode, Some(pair.prefill)),
        };
        for decision in [Some(&last), prefill.as_ref()].into_iter().flatten() {
            if let Chooser::Fallback { cause } = decision.chooser() {
                self.ledger.fall_back(cause);
                // Both halves are one decision.
                break;
            }
        }
        let worker = self.front.number_at(last.index());
        let placed = PlacedRequest::new(last, worker, came, self.now);
        match prefill {
            None => placed,
            Some(decision) => {
                let worker = self.front.number_at(decision.index());
                placed.with_prefill(decision, worker)
            }
        }
    }

    /// Whether a request that failed there is tried again. The worker is not chosen again then, with none
    /// of its ranks.
    pub(super) fn may_retry(
        &mut self,
        request: u32,
        came: f64,
        culprit: u32,
        failure: AttemptFailure,
    ) -> bool {
        let setup = self.inputs.setup;
        let (worker, _) = setup.worker_of(culprit as usize);
        let new = || TriedBefore::new(came, setup.max_retries);
        let tried = self.front.tried.entry(request).or_insert_with(new);
        tried.candidates.extend(setup.candidates_of(u32::try_from(worker).unwrap_or(u32::MAX)));
        let may = tried.take_retry(failure);
        if may {
            self.ledger.retry();
        }
        may
    }

    /// A request is not answered, since nobody is to serve it.
    pub(super) fn refuse(&mut self, request: u32, cause: RefusalCause) {
        self.ledger.refuse(cause);
        self.end_session(request);
    }

    /// A request is not answered, or not to its end, since a worker failed.
    pub(super) fn fail(&mut self, request: u32) {
        self.ledger.fail();
        self.end_session(request);
    }

    fn end_session(&mut self, request: u32) {
        self.front.tried.remove(&request);
        let next = |request: &u32| self.inputs.workload.next_turn(*request);
        let unasked = std::iter::successors(next(&request), next).count();
        self.ledger.leave_out(unasked as u64);
    }

    /// A request is answered: who follows it thinks about that.
    pub(super) fn go_on(&mut self, request: u32, at: f64) {
        let workload = self.inputs.workload;
        if !self.front.tried.is_empty() {
            self.front.tried.remove(&request);
        }
        let next = workload.next_turn(request);
        if let Some((next, turn)) = next.and_then(|next| Some((next, workload.turn(next)?))) {
            self.agenda.add(DueWork::Arrive(next), at + turn.think);
        }
    }

    /// The prompt of a pair's request is processed: what was computed goes to the other half.
    pub(super) fn begin_transfer(&mut self, request: u32, at: f64) {
        let Some(pairs) = self.inputs.setup.model.pairs else { return };
        let tokens = self.inputs.workload.request(request).map_or(0, |asked| asked.prompt_tokens);
        if let Some(placed) = self.front.flights.get(request) {
            let is_apart = self.inputs.setup.are_apart(placed.first(), placed.worker);
            let work = DueWork::Transferred(request, placed.attempt);
            self.agenda.add(work, at + pairs.transfer(tokens, is_apart));
        }
    }

    /// It is there, unless the request was given up meanwhile.
    pub(super) fn end_transfer(&mut self, request: u32, attempt: u32, at: f64) {
        let Some(placed) = self.front.flights.get(request).filter(|placed| placed.attempt == attempt) else {
            return;
        };
        let worker = placed.worker;
        self.set_time(at);
        self.front.transferred(request, at);
        if let Some(engine) = self.engines.get_mut(worker as usize) {
            engine.enqueue(at, request, self.inputs.workload);
            self.agenda.set_step(worker, engine.until());
        }
        self.ask_held_again();
    }
}
