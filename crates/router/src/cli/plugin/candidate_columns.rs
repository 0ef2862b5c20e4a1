//! The table of workers in the page of a decision.

use sgl_api::CandidateRecord;
use sglang_router_rs::core::Column;

/// The cells of a worker's row in these columns, `chosen` or not.
pub(crate) fn row(worker: &CandidateRecord, columns: &[(&str, Cell)], chosen: bool) -> Vec<String> {
    let or_dash = |value: Option<String>| value.unwrap_or_else(|| "-".to_owned());
    let may = match (worker.healthy, worker.admitted) {
        (true, true) => "yes",
        (false, _) => "no: unhealthy",
        (true, false) => "no: tried, or another model",
    };
    let mut cells = vec![
        if chosen { "->" } else { "" }.to_owned(),
        worker.index.to_string(),
        worker.url.clone(),
        worker.role.to_string(),
        may.to_owned(),
    ];
    cells.extend(columns.iter().map(|(_, cell)| or_dash(cell(worker))));
    cells.push(or_dash(worker.score.map(|score| score.to_string())));
    cells
}

/// A worker's value in a column; `None` if unknown.
pub(crate) type Cell = fn(&CandidateRecord) -> Option<String>;

/// The heads and cells of the columns to show: those of the books, of the index of prefixes, of throughput and of a fleet
/// only where there is something to show.
pub(crate) fn columns(candidates: &[CandidateRecord]) -> Vec<(&'static str, Cell)> {
    let booked = candidates.iter().any(|one| one.books.is_some());
    let of_books = Column::ALL.into_iter().filter_map(shown_of_books).filter(|_| booked);
    let matched = candidates.iter().any(|one| one.prefix_match.is_some());
    let cell: (&str, Cell) = ("MATCH", |worker| worker.prefix_match.map(|tokens| tokens.to_string()));
    let of_index = matched.then_some(cell);
    // Few policies look at it, and few engines tell it.
    let fast = candidates.iter().any(|one| one.throughput.is_some());
    // Only routers of a fleet know it.
    let shared = candidates.iter().any(|one| one.load_elsewhere.is_some());
    let is_told = |column: &Column| match column {
        Column::Throughput => fast,
        Column::LoadElsewhere => shared,
        _ => true,
    };
    Column::ALL.into_iter().filter(is_told).filter_map(shown).chain(of_index).chain(of_books).collect()
}

/// The head and the cell of a column; `None` for one that is not shown.
fn shown(column: Column) -> Option<(&'static str, Cell)> {
    match column {
        Column::Load => Some(("LOAD", |worker| Some(worker.load.to_string()))),
        Column::Running => Some(("RUNNING", |worker| worker.running.map(|count| count.to_string()))),
        Column::Waiting => Some(("WAITING", |worker| worker.waiting.map(|count| count.to_string()))),
        Column::QueuedTokens => {
            Some(("TOKENS", |worker| worker.queued_tokens.map(|count| count.to_string())))
        }
        Column::KvUsage => {
            Some(("KV", |worker| worker.kv_usage.map(|share| format!("{:.0} %", share * 100.0))))
        }
        Column::Throughput => {
            Some(("THROUGHPUT", |worker| worker.throughput.map(|rate| format!("{rate:.1} tokens/s"))))
        }
        Column::LatencyEwma => Some(("LATENCY", |worker| worker.latency_ms.map(|ms| format!("{ms:.1} ms")))),
        Column::ReportAgeMs => Some(("AGE", |worker| worker.report_age_ms.map(|ms| format!("{ms} ms")))),
        Column::LoadElsewhere => {
            Some(("ELSEWHERE", |worker| worker.load_elsewhere.map(|count| count.to_string())))
        }
        Column::PrefillLoad
        | Column::PrefillTokens
        | Column::UncachedTokens
        | Column::TokensInFlight
        | Column::PendingCost
        | Column::OldestPendingMs
        | Column::TtftEwma
        | Column::TpotEwma => None,
    }
}

/// The head and the cell of a column of the router's own books; `None` for another.
fn shown_of_books(column: Column) -> Option<(&'static str, Cell)> {
    let shown: (&str, Cell) = match column {
        Column::PrefillLoad => ("PREFILLS", |worker| Some(worker.books?.prefill_load.to_string())),
        Column::PrefillTokens => ("PREFILL TOKENS", |worker| Some(worker.books?.prefill_tokens.to_string())),
        Column::UncachedTokens => ("UNCACHED", |worker| Some(worker.books?.uncached_tokens.to_string())),
        Column::TokensInFlight => ("IN FLIGHT", |worker| Some(worker.books?.tokens_in_flight.to_string())),
        Column::PendingCost => ("PENDING COST", |worker| Some(worker.books?.pending_cost.to_string())),
        Column::OldestPendingMs => {
            ("OLDEST", |worker| Some(format!("{} ms", worker.books?.oldest_pending_ms?)))
        }
        Column::TtftEwma => ("TTFT", |worker| Some(format!("{:.1} ms", worker.books?.ttft_ms?))),
        Column::TpotEwma => ("TPOT", |worker| Some(format!("{:.1} ms", worker.books?.tpot_ms?))),
        Column::Load
        | Column::Running
        | Column::Waiting
        | Column::QueuedTokens
        | Column::KvUsage
        | Column::Throughput
        | Column::LatencyEwma
        | Column::ReportAgeMs
        | Column::LoadElsewhere => return None,
    };
    Some(shown)
}
