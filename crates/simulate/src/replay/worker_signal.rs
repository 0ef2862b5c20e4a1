//! A number of a worker that may speak for it.

use sgl_api::CandidateRecord;
use sgl_policy_abi::{Column, Input};

/// A number of a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WorkerSignal {
    /// How many tokens of the prompt it was believed to hold.
    PrefixMatch,
    /// One of the columns.
    Column(Column),
}

/// What may speak for a worker, what decides first: that it holds the prompt, that little is to be done
/// before the first token, that little is to be done at all, that it is quick.
const ORDER: [WorkerSignal; 16] = [
    WorkerSignal::PrefixMatch,
    WorkerSignal::Column(Column::Load),
    WorkerSignal::Column(Column::LoadElsewhere),
    WorkerSignal::Column(Column::UncachedTokens),
    WorkerSignal::Column(Column::PrefillTokens),
    WorkerSignal::Column(Column::PrefillLoad),
    WorkerSignal::Column(Column::PendingCost),
    WorkerSignal::Column(Column::OldestPendingMs),
    WorkerSignal::Column(Column::QueuedTokens),
    WorkerSignal::Column(Column::Waiting),
    WorkerSignal::Column(Column::Running),
    WorkerSignal::Column(Column::TokensInFlight),
    WorkerSignal::Column(Column::KvUsage),
    WorkerSignal::Column(Column::TtftEwma),
    WorkerSignal::Column(Column::TpotEwma),
    WorkerSignal::Column(Column::LatencyEwma),
];

impl WorkerSignal {
    /// Those that a policy with these inputs sees, in the order above; all if it sees none of them.
    pub(crate) fn seen(inputs: &[Input]) -> Vec<Self> {
        let is_seen = |signal: &Self| match signal {
            Self::PrefixMatch => inputs.contains(&Input::PrefixMatch),
            Self::Column(column) => inputs.contains(&Input::Column(*column)),
        };
        let seen: Vec<Self> = ORDER.into_iter().filter(is_seen).collect();
        if seen.is_empty() { ORDER.to_vec() } else { seen }
    }

    /// All of them.
    pub(crate) fn all() -> Vec<Self> {
        ORDER.to_vec()
    }

    /// The name of the input.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::PrefixMatch => "prefix_match",
            Self::Column(column) => column.name(),
        }
    }

    /// True if a worker with this number is the better one.
    pub(crate) fn is_better(self, number: f64, than: f64) -> bool {
        match self {
            Self::PrefixMatch => number > than,
            Self::Column(_) => number < than,
        }
    }

    /// The number of a worker, if it was known.
    pub(crate) fn of(self, worker: &CandidateRecord) -> Option<f64> {
        let Self::Column(column) = self else { return worker.prefix_match.map(f64::from) };
        let books = worker.books.as_ref();
        match column {
            #[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
            Column::Load => Some(worker.load as f64),
            Column::Running => worker.running.map(f64::from),
            Column::Waiting => worker.waiting.map(f64::from),
            Column::QueuedTokens => worker.queued_tokens.map(f64::from),
            Column::KvUsage => worker.kv_usage.map(f64::from),
            Column::Throughput => worker.throughput.map(f64::from),
            Column::LatencyEwma => worker.latency_ms.map(f64::from),
            Column::LoadElsewhere => worker.load_elsewhere.map(f64::from),
            Column::ReportAgeMs => worker.report_age_ms.map(f64::from),
            Column::PrefillLoad => books.map(|books| books.prefill_load.into()),
            Column::PrefillTokens => books.map(|books| books.prefill_tokens.into()),
            Column::UncachedTokens => books.map(|books| books.uncached_tokens.into()),
            Column::TokensInFlight => books.map(|books| books.tokens_in_flight.into()),
            Column::PendingCost => books.map(|books| books.pending_cost.into()),
            // Nothing is pending where books are kept and there is no oldest.
            Column::OldestPendingMs => books.map(|books| books.oldest_pending_ms.unwrap_or(-1).into()),
            Column::TtftEwma => books.and_then(|books| books.ttft_ms).map(f64::from),
            Column::TpotEwma => books.and_then(|books| books.tpot_ms).map(f64::from),
        }
    }
}
