//! What the router notes and tells its policy of requests that it sent.

use std::time::Instant;

use crate::fleet::flights::{PlacedRequest, PrefillHalf};
use crate::fleet::front::{Front, seconds};
use crate::report::EndedRequest;
use sglang_router_rs::core::Worker;
use sglang_router_rs::policies::{RequestCompletion, RequestFirstToken};

/// The status of an answer that came to its end.
const OK: u16 = 200;

impl Front<'_> {
    /// A request goes to its worker, or to both halves of its pair.
    pub(crate) fn send(&mut self, request: u32, mut placed: PlacedRequest, now: Instant) {
        placed.in_flight.sent(now);
        if let Some(in_flight) = placed.prefill.as_mut().and_then(|half| half.in_flight.as_mut()) {
            in_flight.sent(now);
        }
        self.flights.enter(request, placed);
    }

    /// The first token of a request came.
    pub(crate) fn first_token(&mut self, request: u32, cached: u32, at: f64, now: Instant) {
        let Some(placed) = self.flights.get(request) else { return };
        placed.first_token = at;
        if placed.prefill.is_none() {
            placed.cached = cached;
        }
        placed.in_flight.first_token(now);
        placed.in_flight.generated(1);
        placed.told = 1;
        let Some(worker) = self.workers.get(placed.worker as usize) else { return };
        let after = seconds(at - placed.sent);
        worker.observe_latency(after.as_secs_f32() * 1e3);
        if self.outcomes.first_tokens {
            let (chooser, tag) = (placed.chooser, placed.tag);
            let worker_url = worker.url().to_owned();
            self.policy.on_first_token(&RequestFirstToken { worker_url, chooser, after, tag });
        }
    }

    /// The prompt of a pair's request is processed.
    pub(crate) fn prefilled(&mut self, request: u32, cached: u32) {
        if let Some(placed) = self.flights.get(request) {
            placed.cached = cached;
        }
    }

    /// What was computed of a prompt is where its answer is generated: the prefill half is done.
    pub(crate) fn transferred(&mut self, request: u32, at: f64) {
        let Some(placed) = self.flights.get(request) else { return };
        let sent = placed.sent;
        let Some(half) = placed.prefill.as_mut() else { return };
        half.in_flight = None;
        let half = half.without_count();
        self.tell_prefill(&half, Some(OK), at - sent);
    }

    /// A running request has so many tokens by now.
    pub(crate) fn progressed(&mut self, request: u32, tokens: u32) {
        let Some(placed) = self.flights.get(request) else { return };
        if tokens > placed.told {
            placed.in_flight.generated(tokens - placed.told);
            placed.told = tokens;
        }
    }

    /// A request is answered: it counts as in flight no longer, and the policy is told.
    pub(crate) fn finished(&mut self, request: u32, at: f64) -> Option<EndedRequest> {
        let placed = self.flights.leave(request)?;
        let prefill = placed.prefill.as_ref().map(|half| half.worker);
        let PlacedRequest { mut in_flight, chooser, tag, worker, came, sent, first_token, cached, .. } =
            placed;
        let asked = *self.workload.request(request)?;
        in_flight.generated_in_all(asked.output_tokens);
        drop(in_flight);
        if self.outcomes.completions {
            let url = self.workers.get(worker as usize)?.url();
            self.policy.on_request_complete(&RequestCompletion {
                success: true,
                judged: true,
                status: Some(OK),
                first_byte: Some(seconds(first_token - sent)),
                total: seconds(at - sent),
                prompt_tokens: Some(asked.prompt_tokens),
                completion_tokens: Some(asked.output_tokens),
                cached_tokens: Some(cached),
                tag,
                ..RequestCompletion::new(url, chooser)
            });
        }
        Some(EndedRequest { request, worker, prefill, came, first_token, ended: at, cached })
    }

    /// A request failed at one of its workers, with this status: nothing of it counts any longer, and the
    /// policy is told. The other half of a pair was given up.
    pub(crate) fn failed(&mut self, placed: PlacedRequest, culprit: u32, status: u16, at: f64) {
        let total = at - placed.sent;
        let status_of = |worker: u32| (worker == culprit).then_some(status);
        if let Some(half) = placed.prefill.as_deref().filter(|half| half.in_flight.is_some()) {
            self.tell_prefill(half, status_of(half.worker), total);
        }
        let PlacedRequest { in_flight, chooser, tag, worker, sent, first_token, .. } = placed;
        drop(in_flight);
        let Some(told) = self.workers.get(worker as usize).filter(|_| self.outcomes.completions) else {
            return;
        };
        self.policy.on_request_complete(&RequestCompletion {
            judged: worker == culprit,
            status: status_of(worker),
            first_byte: (!first_token.is_nan()).then(|| seconds(first_token - sent)),
            total: seconds(total),
            tag,
            ..RequestCompletion::new(told.url(), chooser)
        });
    }

    fn tell_prefill(&self, half: &PrefillHalf, status: Option<u16>, total: f64) {
        let Some(worker) = self.workers.get(half.worker as usize).filter(|_| self.outcomes.completions)
        else {
            return;
        };
        self.policy.on_request_complete(&RequestCompletion {
            success: status == Some(OK),
            judged: status.is_some(),
            status,
            total: seconds(total),
            tag: half.tag,
            ..RequestCompletion::new(worker.url(), half.chooser)
        });
    }
}
