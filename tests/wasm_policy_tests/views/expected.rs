//! What a policy must see, told by the host's own workers and by the request.

use std::time::Duration;

use sglang_router_rs::core::{BookNumbers, CandidateWorkers, Column};
use sglang_router_rs::policies::{Explanation, Leg, SelectWorkerInfo};
use sglang_router_rs::types::WorkerSet;

use crate::views::inputs::Asked;
use crate::views::view::{View, WorkerView, seen};

impl Asked {
    pub(crate) fn info<'a>(&'a self, explanation: &'a Explanation) -> SelectWorkerInfo<'a> {
        SelectWorkerInfo {
            request_text: self.text.as_deref(),
            tokens: self.tokens.as_deref(),
            prompt_tokens: self.prompt_tokens,
            max_tokens: self.facts.max_tokens,
            stream: self.facts.stream,
            route: self.facts.route,
            session: self.facts.session.as_deref(),
            prefix_hashes: self.facts.prefix_hashes.as_deref(),
            arrival_rate: self.facts.arrival_rate,
            fields: self.facts.fields.as_ref().map(|fields| fields as _),
            query: self.facts.query.as_ref().map(|query| query as _),
            headers: self.headers.as_ref().map(|headers| headers as _),
            model: self.model.as_deref(),
            wait: self.wait,
            leg: self.leg,
            excluded: self.excluded.as_ref(),
            eligible: self.eligible.as_ref(),
            explanation: Some(explanation),
            ..SelectWorkerInfo::default()
        }
    }

    fn header(&self, name: &str) -> Option<String> {
        let (_, value) = self.headers.as_ref()?.iter().find(|(known, _)| known == name)?;
        Some(value.clone())
    }

    /// What is seen of the request itself.
    fn seen(&self) -> View {
        View {
            workers: Vec::new(),
            text: self.text.clone(),
            tokens: self.tokens.clone(),
            prompt_bytes: self.text.as_ref().map_or(0, String::len) as u64,
            prompt_tokens: self.prompt_tokens.map_or(0, |tokens| tokens.count.into()),
            prompt_tokens_exact: self.prompt_tokens.is_some_and(|tokens| tokens.exact),
            max_tokens: self.facts.max_tokens,
            stream: self.facts.stream,
            route: self.facts.route.map(str::to_owned),
            session: self.facts.session.clone(),
            prefix_hashes: self.facts.prefix_hashes.clone(),
            arrival_rate: self.facts.arrival_rate.unwrap_or(f32::NAN).to_bits(),
            named: [&self.facts.fields, &self.facts.query].map(|pairs| Some(pairs.as_ref()?[0].1.clone())),
            model: self.model.clone(),
            waiting: self.wait.map_or([0; 3], |wait| {
                let ms = |time: Duration| u64::try_from(time.as_millis()).expect("few");
                [ms(wait.waited), ms(wait.left), wait.held.into()]
            }),
            headers: [self.header("x-a"), self.header("x-b")],
            leg: match self.leg {
                Leg::Single => 0,
                Leg::Prefill => 1,
                Leg::Decode => 2,
            },
        }
    }
}

/// What is seen of a worker in a column of the router's own books; `None` for another column.
fn booked(column: Column, books: Option<BookNumbers>) -> Option<u32> {
    let books = books?;
    let int = |value: i32| value.cast_unsigned();
    let float = |value: Option<f32>| value.unwrap_or(f32::NAN).to_bits();
    Some(match column {
        Column::PrefillLoad => int(books.prefill_load),
        Column::PrefillTokens => int(books.prefill_tokens),
        Column::UncachedTokens => int(books.uncached_tokens),
        Column::TokensInFlight => int(books.tokens_in_flight),
        Column::PendingCost => float(Some(books.pending_cost)),
        Column::OldestPendingMs => int(books.oldest_pending_ms.unwrap_or(-1)),
        Column::TtftEwma => float(books.ttft_ms),
        Column::TpotEwma => float(books.tpot_ms),
        _ => return None,
    })
}

/// What is seen of workers, in the order of the table.
pub(crate) fn view<C: CandidateWorkers>(workers: &C, asked: &Asked) -> View {
    let is_in = |set: &Option<WorkerSet>, index| set.as_ref().is_some_and(|set| set.contains(index));
    let hashes = asked.facts.prefix_hashes.as_deref().filter(|hashes| !hashes.is_empty());
    let matched = |index| workers.prefix_match(index, hashes?, 16.0);
    let one = |index: usize| {
        let worker = workers.worker(index).expect("below the length");
        let report = worker.report();
        let books = worker.book_numbers();
        WorkerView {
            url: worker.url().to_owned(),
            model: worker.model_id().map(str::to_owned),
            role: worker.role().as_str().to_owned(),
            weight: worker.weight(),
            labels: worker.labels().clone(),
            engine: worker.engine().clone(),
            healthy: worker.is_healthy() && (asked.eligible.is_none() || is_in(&asked.eligible, index)),
            excluded: is_in(&asked.excluded, index),
            prefix_match: matched(index).unwrap_or(-1),
            numbers: Column::ALL.map(|column| {
                let load = || u32::try_from(worker.load()).expect("few");
                let bits = match column {
                    Column::Load => load(),
                    column => booked(column, books).unwrap_or_else(|| report.bits(column)),
                };
                seen(column, bits)
            }),
        }
    };
    View { workers: (0..workers.len()).map(one).collect(), ..asked.seen() }
}
