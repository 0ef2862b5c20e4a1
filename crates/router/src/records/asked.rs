//! A decision's record before the decision: what is known of workers and of the request.

use std::time::{Duration, Instant};

use sgl_api::{CandidateRecord, DecidedBy, DecisionRecord, RequestFactsRecord};
use sglang_router_rs::core::{
    BookNumbers, CandidateWorkers, Column, FleetWorker, KnownReport, Worker, WorkerTable,
};
use sglang_router_rs::policies::{Decision, Explanation, SelectWorkerInfo, WantedNames};

/// Workers of a table that are recorded, apart from those that were chosen.
const MAX_CANDIDATES: usize = 256;

/// A question to the policy, before it is answered.
#[derive(Debug)]
pub(crate) struct Asked {
    pub(crate) explanation: Explanation,
    pub(crate) decision: DecisionRecord,
    /// What is recorded of them only if they are chosen.
    pub(crate) others: OtherWorkers,
    pub(crate) began: Instant,
}

/// The workers of a table behind the first ones, as they were just before a decision: which of them will
/// be chosen is not known then, and afterwards they have the request.
#[derive(Debug)]
pub(crate) struct OtherWorkers(Vec<AskedWorker>);

/// What of a worker may change at any time.
#[derive(Debug)]
struct AskedWorker {
    admitted: bool,
    healthy: bool,
    load: usize,
    report: KnownReport,
    prefix_match: Option<i32>,
    books: Option<BookNumbers>,
}

impl Asked {
    /// A question over this table, asked now, to a policy that wants these names.
    pub(crate) fn now(
        table: &WorkerTable,
        info: &SelectWorkerInfo<'_>,
        names: Option<&WantedNames>,
    ) -> Box<Self> {
        let matches = matches(table, info);
        let seen = |(index, worker): (usize, &_)| AskedWorker {
            prefix_match: matches.get(index).copied().filter(|tokens| *tokens >= 0),
            ..AskedWorker::of(worker, info.admits(index))
        };
        let mut all = table.workers().iter().map(|worker| &**worker).enumerate();
        let first = all.by_ref().take(MAX_CANDIDATES);
        let candidates = first.map(|(index, worker)| seen((index, worker)).shown(index, worker)).collect();
        let others = OtherWorkers(all.map(seen).collect());
        let decision = DecisionRecord {
            chooser: DecidedBy::Nobody,
            generation: None,
            failure: None,
            failure_detail: None,
            request: request_facts(info, names),
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

impl OtherWorkers {
    /// The worker with this index as it was; `None` if it is one of the first, which are recorded anyway.
    pub(crate) fn shown(&self, table: &WorkerTable, index: usize) -> Option<CandidateRecord> {
        let seen = self.0.get(index.checked_sub(MAX_CANDIDATES)?)?;
        Some(seen.shown(index, table.get(index)?))
    }
}

impl AskedWorker {
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
        let KnownReport {
            running,
            waiting,
            queued_tokens,
            kv_usage,
            throughput,
            latency_ms,
            report_age_ms,
            load_elsewhere,
        } = self.report;
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
            load_elsewhere,
            prefix_match: self.prefix_match,
            books: self.books,
            score: None,
            facts: None,
        }
    }
}

/// How much of the prompt each worker holds, below 0 where nobody knows; nothing without a prompt.
fn matches(table: &WorkerTable, info: &SelectWorkerInfo<'_>) -> Vec<i32> {
    let Some(hashes) = info.prefix_hashes.filter(|hashes| !hashes.is_empty()) else { return Vec::new() };
    let mut column = vec![0_u8; table.len() * Column::WIDTH];
    table.fill_prefix_match(hashes, info.block_tokens(), &mut column);
    column.as_chunks().0.iter().map(|bytes| i32::from_le_bytes(*bytes)).collect()
}

fn request_facts(info: &SelectWorkerInfo<'_>, names: Option<&WantedNames>) -> RequestFactsRecord {
    RequestFactsRecord {
        prompt_tokens: info.prompt_tokens.map(|tokens| tokens.count),
        prompt_tokens_exact: info.prompt_tokens.map(|tokens| tokens.exact),
        max_tokens: info.max_tokens,
        stream: info.stream,
        prefix_blocks: info.prefix_hashes.map(<[u64]>::len),
        arrival_rate: info.arrival_rate,
        waited_ms: info.wait.map(|wait| milliseconds(wait.waited)).filter(|waited| *waited > 0),
        may_wait_ms: info.wait.map(|wait| milliseconds(wait.left)),
        held: info.wait.map(|wait| wait.held).filter(|held| *held > 0),
        prompt_bytes: Some(info.whole_prompt_bytes()).filter(|bytes| *bytes > 0),
        client_key: info.client_key.map(str::to_owned),
        withheld: withheld(info, names),
        ..RequestFactsRecord::default()
    }
}

/// What the request has of what the policy declared and no record tells.
fn withheld(info: &SelectWorkerInfo<'_>, names: Option<&WantedNames>) -> Vec<String> {
    let session = info.session.map(|_| "session".to_owned());
    let pointers = names.into_iter().flat_map(|names| &names.fields).map(|pointer| pointer.as_str());
    let pointers = pointers.filter(|pointer| info.fields.is_some_and(|all| all.field(pointer).is_some()));
    let query = names.into_iter().flat_map(|names| &names.query);
    let query = query.filter(|name| info.query.is_some_and(|all| all.parameter(name).is_some()));
    let headers = names.into_iter().flat_map(|names| &names.headers);
    let headers = headers.filter(|name| info.header(name).is_some());
    let fields = pointers.map(|pointer| format!("field:{pointer}"));
    let query = query.map(|name| format!("query:{name}"));
    let headers = headers.map(|name| format!("header:{name}"));
    session.into_iter().chain(fields).chain(query).chain(headers).collect()
}

/// Whole milliseconds of a time.
pub(crate) fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use sglang_router_rs::core::{BookEntry, Fleet, InFlight, KeptBooks, WorkerSpec};
    use sglang_router_rs::policies::WaitOffer;
    use sglang_router_rs::types::JsonPointer;

    #[test]
    fn chosen_worker_of_a_wide_fleet_is_shown_as_it_was_before_the_request() {
        let _books = KeptBooks::new();
        let fleet = Fleet::new();
        for index in 0..300 {
            fleet.add(WorkerSpec::new(format!("http://w{index}")), true).expect("a new URL");
        }
        fleet.start_prefix_index();
        let (table, hashes) = (fleet.table(), [1, 2, 3]);
        let info = SelectWorkerInfo { prefix_hashes: Some(&hashes), ..SelectWorkerInfo::NOTHING };
        table.sent(280, &hashes[..2], None);
        let asked = Asked::now(&table, &info, None);
        let entry = || BookEntry { prompt_tokens: 48, prefill_tokens: 48, ..BookEntry::default() };
        let flights =
            [20, 280].map(|index| InFlight::on_fleet_with(table.get(index).expect("a worker"), entry));
        assert_eq!(table.get(280).map(|worker| worker.load()), Some(1));
        table.sent(280, &hashes, None);
        assert_eq!(asked.decision.candidates.len(), MAX_CANDIDATES);
        assert!(asked.others.shown(&table, 20).is_none(), "it is there already");
        let shown = asked.others.shown(&table, 280).expect("a worker");
        let books = shown.books.expect("they are kept");
        assert_eq!(
            (shown.index, &*shown.url, shown.load, books.prefill_load, shown.prefix_match),
            (280, "http://w280", 0, 0, Some(32))
        );
        drop(flights);
    }

    #[test]
    fn facts_of_a_request_name_what_they_do_not_tell() {
        let fields = vec![("/user".to_owned(), "secret".to_owned())];
        let query = vec![("tenant".to_owned(), "secret".to_owned())];
        let names = WantedNames {
            fields: ["/user", "/none"].into_iter().filter_map(JsonPointer::parse).collect(),
            query: vec!["tenant".to_owned(), "none".to_owned()],
            headers: vec!["x-team".to_owned(), "x-none".to_owned()],
        };
        let headers = vec![("x-team".to_owned(), "secret".to_owned())];
        let ms = Duration::from_millis;
        let info = SelectWorkerInfo {
            request_text: Some("secret"),
            session: Some("secret"),
            fields: Some(&fields),
            query: Some(&query),
            headers: Some(&headers),
            wait: Some(WaitOffer { waited: ms(20), left: ms(500), held: 3 }),
            ..SelectWorkerInfo::NOTHING
        };
        let facts = serde_json::to_value(request_facts(&info, Some(&names))).expect("JSON");
        assert_eq!(
            facts,
            serde_json::json!({
                "waited_ms": 20, "may_wait_ms": 500, "held": 3, "prompt_bytes": 6,
                "withheld": ["session", "field:/user", "query:tenant", "header:x-team"],
            })
        );
    }
}
