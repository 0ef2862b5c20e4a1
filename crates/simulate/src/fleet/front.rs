//! The router: what it asks its policy, and what it knows of the fleet.

use std::collections::HashMap;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::{Duration, Instant};

use crate::engine::EnginePart;
use crate::fleet::cache_news::HeardChange;
use crate::fleet::flights::Flights;
use crate::fleet::policy_source::FreshPolicy;
use crate::fleet::request_headers::RequestHeaders;
use crate::fleet::setup::FleetSetup;
use crate::fleet::tried_before::TriedBefore;
use crate::workload::{PromptBlocks, PromptText, Workload};
use sglang_router_rs::core::{
    ArrivalRate, EngineFacts, Fleet, FleetWorker, PrefixIndexLimits, Worker, WorkerRole, WorkerSpec,
    WorkerTable,
};
use sglang_router_rs::policies::{
    DecideError, Decision, OutcomeNeeds, PairDecision, PolicyHandle, PromptTokens, RequestNeeds,
    SelectWorkerInfo, WaitOffer,
};
use sglang_router_rs::prefix_index::PrefixIndexStats;
use sglang_router_rs::types::WorkerSet;

/// Bytes of a prompt's text that are made at most: more than any message to a plugin has.
const TEXT_BYTES: usize = 1 << 20;
/// Whom a policy chose.
#[derive(Debug)]
pub(crate) enum ChosenWorkers {
    /// One worker.
    Single(Decision),
    /// Two that serve the request together.
    Pair(PairDecision),
}

/// The router in front of a fleet.
#[derive(Debug)]
pub(crate) struct Front<'a> {
    pub(super) workload: &'a Workload,
    seed: u64,
    pub(super) policy: PolicyHandle,
    needs: RequestNeeds,
    pub(super) outcomes: OutcomeNeeds,
    fleet: Fleet,
    table: Arc<WorkerTable>,
    /// The candidates by their numbers, those that are gone as they were.
    pub(super) workers: Vec<Arc<FleetWorker>>,
    /// The number of the candidate at each place of the table; empty if they are the same.
    numbers: Vec<u32>,
    is_of_pairs: bool,
    block_tokens: u32,
    blocks: PromptBlocks,
    text: PromptText,
    arrivals: ArrivalRate,
    arrival_rate: Option<f32>,
    /// What was tried for requests that failed.
    pub(crate) tried: HashMap<u32, TriedBefore>,
    pub(crate) flights: Flights,
}

impl<'a> Front<'a> {
    /// A router that has just started, `now`; headers of requests are drawn with this seed.
    pub(crate) fn new(
        setup: &FleetSetup,
        policy: &FreshPolicy,
        (workload, seed): (&'a Workload, u64),
        now: Instant,
    ) -> Self {
        // Prompts are tokens, so that each block has as many as it should.
        let min_block_tokens = setup.block_tokens.max(1);
        let limits = PrefixIndexLimits { max_bytes: setup.index_bytes, min_block_tokens };
        let fleet = Fleet::with_prefix_index(limits);
        // Their addresses differ, so that each is new.
        let workers = (0..setup.candidates()).filter_map(|number| fleet.add(spec(number, setup), true).ok());
        let workers = workers.collect();
        // Other routers' models look at prompts in the pieces that the workload has, all of them.
        let (block_tokens, max_blocks) = match &policy.views {
            Some(_) => (workload.unit_tokens(), usize::MAX),
            None => (setup.block_tokens, setup.max_blocks),
        };
        let needs = policy.handle.needs();
        if needs.prefix_match {
            fleet.start_prefix_index();
        }
        Self {
            workload,
            seed,
            policy: policy.handle.clone(),
            needs,
            outcomes: policy.handle.outcome_needs(),
            table: fleet.table(),
            fleet,
            workers,
            numbers: Vec::new(),
            is_of_pairs: setup.model.pairs.is_some(),
            block_tokens,
            blocks: PromptBlocks::new(block_tokens, max_blocks),
            text: PromptText::new(workload, TEXT_BYTES),
            arrivals: ArrivalRate::new(now),
            arrival_rate: None,
            tried: HashMap::new(),
            flights: Flights::new(workload.len()),
        }
    }

    /// One of the candidates.
    pub(crate) fn worker(&self, number: u32) -> Option<&Arc<FleetWorker>> {
        self.workers.get(number as usize)
    }

    /// The number of the candidate at this place of the table.
    pub(crate) fn number_at(&self, index: usize) -> u32 {
        let same = u32::try_from(index).unwrap_or(u32::MAX);
        if self.numbers.is_empty() { same } else { self.numbers.get(index).copied().unwrap_or(u32::MAX) }
    }

    /// The numbers of the candidates at the places of the table; empty if they are the same.
    pub(crate) fn numbers(&self) -> &[u32] {
        &self.numbers
    }

    /// A candidate is taken out of the fleet.
    pub(crate) fn leave(&mut self, number: u32) {
        if let Some(worker) = self.worker(number) {
            self.fleet.remove(worker.url());
            self.see_fleet();
        }
    }

    /// A candidate that left is added again.
    pub(crate) fn join(&mut self, number: u32) {
        let Some(worker) = self.workers.get_mut(number as usize) else { return };
        if let Ok(added) = self.fleet.add(worker.spec().clone(), true) {
            *worker = added;
            self.see_fleet();
        }
    }

    fn see_fleet(&mut self) {
        self.table = self.fleet.table();
        let number = |url: &str| self.workers.iter().position(|worker| worker.url() == url);
        let numbers = self.table.workers().iter().map(|worker| number(worker.url()));
        let numbers = numbers.map(|number| number.and_then(|number| u32::try_from(number).ok()));
        self.numbers = numbers.map(|number| number.unwrap_or(u32::MAX)).collect();
    }

    /// A candidate started anew: what it held is gone.
    pub(crate) fn forget(&self, number: u32) {
        if let Some(worker) = self.worker(number) {
            self.fleet.forget_prefixes(worker);
        }
    }

    /// A candidate tells what changed in its cache.
    pub(crate) fn hear(&mut self, number: u32, changes: &[HeardChange]) {
        let Some(index) = self.fleet.prefix_index() else { return };
        let Some(place) = self.workers.get(number as usize).and_then(|worker| worker.indexed()) else {
            return;
        };
        let unit = self.workload.unit_tokens();
        for change in changes {
            let (after, hashes) =
                self.blocks.of_unit((change.place.before, change.id), change.place.depth, unit);
            if hashes.is_empty() {
                continue;
            }
            if change.is_kept {
                // False if what is before it was forgotten: then less is believed, as by the router.
                index.stored(place, after, hashes);
            } else {
                index.removed(place, hashes);
            }
        }
    }

    /// What the index has, if it is used.
    pub(crate) fn index_stats(&self) -> Option<PrefixIndexStats> {
        self.fleet.prefix_index().map(|index| index.stats())
    }

    /// A request comes.
    pub(crate) fn arrive(&mut self, now: Instant) {
        if self.needs.arrival_rate {
            self.arrival_rate = self.arrivals.count(now);
        }
    }

    /// Asks the policy about a request that came, that failed, or that it had wait.
    ///
    /// # Errors
    ///
    /// [`DecideError`]: nobody is chosen.
    pub(crate) fn decide(&mut self, request: u32, wait: WaitOffer) -> Result<ChosenWorkers, DecideError> {
        let needs = self.needs;
        let count = self.workload.request(request).map_or(0, |asked| asked.prompt_tokens);
        let arrival_rate = self.arrival_rate;
        let excluded = self.excluded(request);
        let (request_text, prompt_bytes) = if needs.text {
            let (text, whole) = self.text.of(request, self.workload);
            (Some(text), Some(whole))
        } else {
            (None, None)
        };
        let headers = RequestHeaders::of(request, self.workload, self.seed);
        let session = headers.session();
        let hashes = needs.prefix_hashes.then(|| self.blocks.of(request, self.workload));
        #[expect(clippy::cast_precision_loss, reason = "blocks have few tokens")]
        let info = SelectWorkerInfo {
            request_text,
            prompt_bytes,
            prompt_tokens: Some(PromptTokens { count, exact: true }),
            max_tokens: self.workload.max_tokens(request),
            stream: true,
            route: Some("/v1/chat/completions"),
            prefix_hashes: hashes,
            prefix_block_tokens: Some(self.block_tokens as f32),
            arrival_rate,
            session,
            request_key: session,
            headers: Some(&headers),
            excluded: excluded.as_ref(),
            wait: Some(wait),
            ..SelectWorkerInfo::NOTHING
        };
        if self.is_of_pairs {
            let pair = decide_pair(&self.policy, &self.table, &info)?;
            if let (true, Some(hashes)) = (needs.prefix_match, hashes) {
                self.table.sent(pair.prefill.index(), hashes, None);
                self.table.sent(pair.decode.index(), hashes, None);
            }
            return Ok(ChosenWorkers::Pair(pair));
        }
        let decision = self.policy.decide(&self.table, &info)?;
        if let (true, Some(hashes)) = (needs.prefix_match, hashes) {
            self.table.sent(decision.index(), hashes, None);
        }
        Ok(ChosenWorkers::Single(decision))
    }

    /// The places of those that were tried for a request.
    fn excluded(&self, request: u32) -> Option<WorkerSet> {
        if self.tried.is_empty() {
            return None;
        }
        let tried = &self.tried.get(&request)?.candidates;
        let is_tried = |index: &usize| tried.contains(&self.number_at(*index));
        Some((0..self.table.workers().len()).filter(is_tried).collect())
    }
}

/// A pair, chosen as a router that serves has it chosen. The only instance is free, so nobody waits for it.
fn decide_pair(
    policy: &PolicyHandle,
    table: &WorkerTable,
    info: &SelectWorkerInfo<'_>,
) -> Result<PairDecision, DecideError> {
    let mut deciding = pin!(policy.decide_pair_async(table, info));
    let mut context = Context::from_waker(Waker::noop());
    loop {
        if let Poll::Ready(decided) = deciding.as_mut().poll(&mut context) {
            return decided;
        }
        thread::yield_now();
    }
}

fn spec(number: usize, setup: &FleetSetup) -> WorkerSpec {
    let (worker, rank) = setup.worker_of(number);
    let model = &setup.model;
    let engine = EngineFacts {
        kv_capacity_tokens: Some(model.kv_tokens()),
        block_size: Some(model.block_tokens),
        max_running_requests: Some(model.max_sequences),
        dp_rank: rank,
        ..EngineFacts::UNKNOWN
    };
    let role = match setup.part_of(worker) {
        EnginePart::Whole => WorkerRole::Regular,
        EnginePart::Prefill => WorkerRole::Prefill,
        EnginePart::Decode => WorkerRole::Decode,
    };
    let url = format!("http://worker-{worker}:8000");
    let url = rank.map_or_else(|| url.clone(), |rank| format!("{url}@{rank}"));
    let labels = setup.labels.get(worker).cloned().unwrap_or_default();
    WorkerSpec { engine, role, labels, ..WorkerSpec::new(url) }
}

/// A time that is not negative.
pub(crate) fn seconds(time: f64) -> Duration {
    Duration::try_from_secs_f64(time).unwrap_or_default()
}
