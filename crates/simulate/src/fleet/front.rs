//! The router: what it asks its policy, and what it notes and tells.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::engine::EngineModel;
use crate::fleet::flights::{Flights, PlacedRequest};
use crate::fleet::policy_source::FreshPolicy;
use crate::fleet::setup::FleetSetup;
use crate::report::EndedRequest;
use crate::workload::{PromptBlocks, PromptText, Workload};
use sglang_router_rs::core::{
    ArrivalRate, EngineFacts, Fleet, FleetWorker, PrefixIndexLimits, Worker, WorkerSpec, WorkerTable,
};
use sglang_router_rs::policies::{
    DecideError, Decision, HeaderLookup, OutcomeNeeds, PolicyHandle, PromptTokens, RequestCompletion,
    RequestFirstToken, RequestNeeds, SelectWorkerInfo, WaitOffer,
};

/// Bytes of a prompt's text that are made at most: more than any message to a plugin has.
const TEXT_BYTES: usize = 1 << 20;
/// Tokens that a block of the index has at least, of those that it has: as the router assumes where it does
/// not know whether prompts come as text or as tokens.
const LEAST_BLOCK: (u32, u32) = (12, 16);
/// The header that has the key of the session.
const SESSION_HEADER: &str = "x-session-id";
/// The status of an answer that came to its end.
const OK: u16 = 200;

/// The headers of a request of a session.
#[derive(Debug)]
struct SessionHeaders(String);

impl HeaderLookup for SessionHeaders {
    fn header(&self, name: &str) -> Option<&str> {
        (name == SESSION_HEADER).then_some(&self.0)
    }
}

/// The router in front of a fleet.
#[derive(Debug)]
pub(crate) struct Front<'a> {
    workload: &'a Workload,
    policy: PolicyHandle,
    needs: RequestNeeds,
    outcomes: OutcomeNeeds,
    /// Keeps the table's workers.
    _fleet: Fleet,
    table: Arc<WorkerTable>,
    block_tokens: u32,
    blocks: PromptBlocks,
    text: PromptText,
    arrivals: ArrivalRate,
    arrival_rate: Option<f32>,
    pub(crate) flights: Flights,
}

impl<'a> Front<'a> {
    /// A router that has just started, `now`.
    pub(crate) fn new(
        setup: &FleetSetup,
        policy: &FreshPolicy,
        workload: &'a Workload,
        now: Instant,
    ) -> Self {
        let (least, of) = LEAST_BLOCK;
        let min_block_tokens = (setup.block_tokens.saturating_mul(least) / of).max(1);
        let limits = PrefixIndexLimits { max_bytes: setup.index_bytes, min_block_tokens };
        let fleet = Fleet::with_prefix_index(limits);
        for number in 0..setup.speeds.len() {
            // Their addresses differ, so that each is new.
            let _ = fleet.add(spec(number, &setup.model), true);
        }
        let needs = policy.handle.needs();
        if needs.prefix_match {
            fleet.start_prefix_index();
        }
        Self {
            workload,
            policy: policy.handle.clone(),
            needs,
            outcomes: policy.handle.outcome_needs(),
            table: fleet.table(),
            _fleet: fleet,
            block_tokens: setup.block_tokens,
            blocks: PromptBlocks::new(setup.block_tokens, setup.max_blocks),
            text: PromptText::new(workload, TEXT_BYTES),
            arrivals: ArrivalRate::new(now),
            arrival_rate: None,
            flights: Flights::new(workload.len()),
        }
    }

    /// One of the workers.
    pub(crate) fn worker(&self, number: u32) -> Option<&Arc<FleetWorker>> {
        self.table.get(number as usize)
    }

    /// A request comes.
    pub(crate) fn arrive(&mut self, now: Instant) {
        if self.needs.arrival_rate {
            self.arrival_rate = self.arrivals.count(now);
        }
    }

    /// Asks the policy about a request that came, or that it had wait.
    ///
    /// # Errors
    ///
    /// [`DecideError`]: nobody is chosen.
    pub(crate) fn decide(&mut self, request: u32, wait: WaitOffer) -> Result<Decision, DecideError> {
        let needs = self.needs;
        let count = self.workload.request(request).map_or(0, |asked| asked.prompt_tokens);
        let arrival_rate = self.arrival_rate;
        let (request_text, prompt_bytes) = if needs.text {
            let (text, whole) = self.text.of(request, self.workload);
            (Some(text), Some(whole))
        } else {
            (None, None)
        };
        let headers =
            self.workload.turn(request).map(|turn| SessionHeaders(format!("session-{}", turn.session)));
        let session = headers.as_ref().map(|headers| headers.0.as_str());
        let hashes = needs.prefix_hashes.then(|| self.blocks.of(request, self.workload));
        #[expect(clippy::cast_precision_loss, reason = "blocks have few tokens")]
        let info = SelectWorkerInfo {
            request_text,
            prompt_bytes,
            prompt_tokens: Some(PromptTokens { count, exact: true }),
            stream: true,
            route: Some("/v1/chat/completions"),
            prefix_hashes: hashes,
            prefix_block_tokens: Some(self.block_tokens as f32),
            arrival_rate,
            session,
            request_key: session,
            headers: headers.as_ref().map(|headers| headers as &dyn HeaderLookup),
            wait: Some(wait),
            ..SelectWorkerInfo::NOTHING
        };
        let decision = self.policy.decide(&self.table, &info)?;
        if let (true, Some(hashes)) = (needs.prefix_match, hashes) {
            self.table.sent(decision.index(), hashes);
        }
        Ok(decision)
    }

    /// A request goes to its worker.
    pub(crate) fn send(&mut self, request: u32, mut placed: PlacedRequest, now: Instant) {
        placed.in_flight.sent(now);
        self.flights.enter(request, placed);
    }

    /// The first token of a request came.
    pub(crate) fn first_token(&mut self, request: u32, cached: u32, at: f64, now: Instant) {
        let Some(placed) = self.flights.get(request) else { return };
        placed.first_token = at;
        placed.cached = cached;
        placed.in_flight.first_token(now);
        placed.in_flight.generated(1);
        placed.told = 1;
        let Some(worker) = self.table.get(placed.worker as usize) else { return };
        let after = seconds(at - placed.sent);
        worker.observe_latency(after.as_secs_f32() * 1e3);
        if self.outcomes.first_tokens {
            let (chooser, tag) = (placed.chooser, placed.tag);
            let worker_url = worker.url().to_owned();
            self.policy.on_first_token(&RequestFirstToken { worker_url, chooser, after, tag });
        }
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
        let PlacedRequest { mut in_flight, chooser, tag, worker, came, sent, first_token, cached, .. } =
            placed;
        let asked = *self.workload.request(request)?;
        in_flight.generated_in_all(asked.output_tokens);
        drop(in_flight);
        if self.outcomes.completions {
            let url = self.table.get(worker as usize)?.url();
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
        Some(EndedRequest { worker, came, first_token, ended: at, cached })
    }
}

fn spec(number: usize, model: &EngineModel) -> WorkerSpec {
    let engine = EngineFacts {
        kv_capacity_tokens: Some(model.kv_tokens()),
        block_size: Some(model.block_tokens),
        max_running_requests: Some(model.max_sequences),
        ..EngineFacts::UNKNOWN
    };
    WorkerSpec { engine, ..WorkerSpec::new(format!("http://worker-{number}:8000")) }
}

/// A time that is not negative.
pub(crate) fn seconds(time: f64) -> Duration {
    Duration::try_from_secs_f64(time).unwrap_or_default()
}
