//! A decision's record before the decision: what is known of workers and of the request.

use std::time::{Duration, Instant};

use sgl_api::{CandidateRecord, DecidedBy, DecisionRecord, RequestFactsRecord};
use sglang_router_rs::core::{
    BookNumbers, CandidateWorkers, Column, FleetWorker, KnownReport, Worker, WorkerTable,
};
use sglang_router_rs::policies::{Decision, Explanation, SelectWorkerInfo};

/// Workers of a table that are recorded, apart from those that were chosen.
const MAX_CANDIDATES: usize = 256;

/// A question to the policy, before it is answered.
#[derive(Debug)]
pub(crate) struct Asked {
    pub(crate) explanation: Explanation,
    pub(crate) decision: DecisionRecord,
    /// What is recorded of them only if they are chosen.
    pub(crate) others: Others,
    pub(crate) began: Instant,
}

/// The workers of a table behind the first ones, as they were just before a decision: which of them will
/// be chosen is not known then, and afterwards they have the request.
#[derive(Debug)]
pub(crate) struct Others(Vec<Seen>);

/// What of a worker may change at any time.
#[derive(Debug)]
struct Seen {
    admitted: bool,
    healthy: bool,
    load: usize,
    report: KnownReport,
    prefix_match: Option<i32>,
    books: Option<BookNumbers>,
}

impl Asked {
    /// A question over this table, asked now.
    pub(crate) fn now(table: &WorkerTable, info: &SelectWorkerInfo<'_>) -> Box<Self> {
        let matches = matches(table, info);
        let seen = |(index, worker): (usize, &_)| Seen {
            prefix_match: matches.get(index).copied().filter(|tokens| *tokens >= 0),
            ..Seen::of(worker, info.admits(index))
        };
        let mut all = table.workers().iter().map(|worker| &**worker).enumerate();
        let first = all.by_ref().take(MAX_CANDIDATES);
        let candidates = first.map(|(index, worker)| seen((index, worker)).shown(index, worker)).collect();
        let others = Others(all.map(seen).collect());
        let decision = DecisionRecord {
            chooser: DecidedBy::Nobody,
            generation: None,
            failure: None,
            failure_detail: None,
            request: request_facts(info),
            table_version: table.version().get(),
            workers: table.len(),
            candidates,
            chosen: Vec::new(),
            wait: None,
            shed_retry_after_ms: None,
            reason: None,
            tag: None,
            cost: None,
            decode_tag: None,
            decode_cost: None,
            cost_ns: 0,
        };
        Box::new(Self { explanation: Explanation::default(), decision, others, began: Instant::now() })
    }

    /// Notes what the policy gave along with its choice.
    pub(crate) fn give(&mut self, first: &Decision, decode: Option<&Decision>) {
        let cost = |decision: &Decision| Some(decision.cost()).filter(|cost| *cost != 0.0);
        self.decision.tag = first.tag();
        self.decision.cost = cost(first);
        self.decision.decode_tag = decode.and_then(Decision::tag).filter(|tag| first.tag() != Some(*tag));
        self.decision.decode_cost = decode.and_then(cost);
    }

    /// Where the policy explains its choice.
    pub(crate) fn explanation(&self) -> &Explanation {
        &self.explanation
    }
}

impl Others {
    /// The worker with this index as it was; `None` if it is one of the first, which are recorded anyway.
    pub(crate) fn shown(&self, table: &WorkerTable, index: usize) -> Option<CandidateRecord> {
        let seen = self.0.get(index.checked_sub(MAX_CANDIDATES)?)?;
        Some(seen.shown(index, table.get(index)?))
    }
}

impl Seen {
    fn of(worker: &FleetWorker, admitted: bool) -> Self {
        Self {
            admitted,
            healthy: worker.is_healthy(),
            load: worker.load(),
            report: worker.report().known(),
            prefix_match: None,
            books: worker.book_numbers(),
        }
    }

    fn shown(&self, index: usize, worker: &FleetWorker) -> CandidateRecord {
        let KnownReport { running, waiting, queued_tokens, kv_usage, throughput, latency_ms, report_age_ms } =
            self.report;
        CandidateRecord {
            index,
            url: worker.url().to_owned(),
            role: worker.role(),
            healthy: self.healthy,
            admitted: self.admitted,
            load: self.load,
            running,
            waiting,
            queued_tokens,
            kv_usage,
            throughput,
            latency_ms,
            report_age_ms,
            prefix_match: self.prefix_match,
            books: self.books,
            score: None,
        }
    }
}

/// How much of the prompt each worker holds, below 0 where nobody knows; nothing without a prompt.
fn matches(table: &WorkerTable, info: &SelectWorkerInfo<'_>) -> Vec<i32> {
    let Some(hashes) = info.prefix_hashes.filter(|hashes| !hashes.is_empty()) else { return Vec::new() };
    let mut column = vec![0; table.len() * Column::WIDTH];
    table.fill_prefix_match(hashes, info.block_tokens(), &mut column);
    column.as_chunks().0.iter().map(|bytes| i32::from_le_bytes(*bytes)).collect()
}

fn request_facts(info: &SelectWorkerInfo<'_>) -> RequestFactsRecord {
    RequestFactsRecord {
        prompt_tokens: info.prompt_tokens.map(|tokens| tokens.count),
        prompt_tokens_exact: info.prompt_tokens.map(|tokens| tokens.exact),
        max_tokens: info.max_tokens,
        stream: info.stream,
        prefix_blocks: info.prefix_hashes.map(<[u64]>::len),
        arrival_rate: info.arrival_rate,
    }
}

/// Whole milliseconds of a time.
pub(crate) fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
