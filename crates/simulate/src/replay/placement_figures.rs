//! What the choices of one side come to.

use std::collections::HashMap;
use std::time::Duration;

use serde::Serialize;

use crate::engine::{EngineModel, WorkAhead};
use crate::replay::replay_choice::{ReplayAnswer, ReplayChoice};
use crate::replay::replayed_request::prompt_tokens;
use sgl_api::{CandidateRecord, DecisionRecord, RequestRecord};
use sgl_tools::load::{Quantiles, Times};

/// Workers whose shares are counted; further ones count in none.
const MAX_WORKERS: usize = 4096;

/// What the choices of one side come to.
#[derive(Debug, Default)]
pub(crate) struct PlacementFigures {
    counts: ChoiceCounts,
    matched: u64,
    matchable: u64,
    /// Of each worker: decisions, and prompt tokens that it was not believed to hold.
    shares: HashMap<String, (u64, u64)>,
    ttft: Times,
}

/// How often a side did what.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ChoiceCounts {
    /// Chose a worker, or a pair.
    pub placed: u64,
    /// Had the request wait.
    pub held: u64,
    /// Sent the client away for a time.
    pub shed: u64,
    /// Chose nobody though somebody could be chosen.
    pub nobody: u64,
    /// Decisions of the fallback.
    pub fallback: u64,
}

/// The same for a report.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PlacementSummary {
    /// How often it did what.
    pub counts: ChoiceCounts,
    /// Share of the prompt tokens that the chosen workers were believed to hold, where that is known.
    pub hit_rate: Option<f64>,
    /// Decisions for the worker that got most of them over the mean.
    pub imbalance: Option<f64>,
    /// The same of prompt tokens that workers were not believed to hold.
    pub imbalance_tokens: Option<f64>,
    /// Estimated times to the first token.
    pub ttft_ms: Option<Quantiles>,
}

impl PlacementFigures {
    /// Counts a choice; the estimated seconds to its first token, if it can be estimated.
    pub(crate) fn count(
        &mut self,
        model: &EngineModel,
        record: &RequestRecord,
        decision: &DecisionRecord,
        answered: &ReplayAnswer,
    ) -> Option<f64> {
        let counts = &mut self.counts;
        counts.fallback += u64::from(answered.by_fallback);
        let places = match &answered.choice {
            ReplayChoice::Placed(places) => {
                counts.placed += 1;
                places
            }
            other => {
                match other {
                    ReplayChoice::Held => counts.held += 1,
                    ReplayChoice::Shed => counts.shed += 1,
                    _ => counts.nobody += 1,
                }
                return None;
            }
        };
        // Of a pair, the worker that processes the prompt.
        let worker = decision.candidates.get(*places.first()?)?;
        let prompt = prompt_tokens(record, decision).map(|tokens| tokens.count);
        self.note(worker, prompt);
        let ttft = ttft(model, worker, prompt?);
        self.ttft.record(Duration::try_from_secs_f64(ttft).unwrap_or_default());
        Some(ttft)
    }

    fn note(&mut self, worker: &CandidateRecord, prompt: Option<u32>) {
        let held = held_of(worker).min(prompt.unwrap_or_default());
        if let (Some(prompt), Some(_)) = (prompt, worker.prefix_match) {
            self.matched += u64::from(held);
            self.matchable += u64::from(prompt);
        }
        if !self.shares.contains_key(&worker.url) && self.shares.len() >= MAX_WORKERS {
            return;
        }
        let share = self.shares.entry(worker.url.clone()).or_default();
        share.0 += 1;
        share.1 += u64::from(prompt.unwrap_or_default().saturating_sub(held));
    }

    /// What is told of them, over the workers that could be chosen.
    #[expect(clippy::cast_precision_loss, reason = "counts are far below 2^53")]
    pub(crate) fn summary(&self, workers: usize) -> PlacementSummary {
        let over_mean = |of: fn(&(u64, u64)) -> u64| {
            let most = self.shares.values().map(of).max()?;
            let sum: u64 = self.shares.values().map(of).sum();
            (sum > 0).then(|| most as f64 * workers.max(1) as f64 / sum as f64)
        };
        PlacementSummary {
            counts: self.counts,
            hit_rate: (self.matchable > 0).then(|| self.matched as f64 / self.matchable as f64),
            imbalance: over_mean(|share| share.0),
            imbalance_tokens: over_mean(|share| share.1),
            ttft_ms: self.ttft.quantiles(),
        }
    }
}

fn held_of(worker: &CandidateRecord) -> u32 {
    u32::try_from(worker.prefix_match.unwrap_or_default()).unwrap_or_default()
}

/// Seconds until the first token of a request at a worker, by what was known of it.
fn ttft(model: &EngineModel, worker: &CandidateRecord, prompt: u32) -> f64 {
    let count = |number: i32| u32::try_from(number).unwrap_or_default();
    let load = u32::try_from(worker.load).unwrap_or(u32::MAX);
    let books = worker.books.as_ref();
    // What this router sent, or else what the worker says, or as many prompts like this as wait there.
    let queued = books.map(|books| books.uncached_tokens).or(worker.queued_tokens).map(count);
    let ahead =
        queued.unwrap_or_else(|| worker.waiting.map(count).unwrap_or_default().saturating_mul(prompt));
    let pending = books.map_or(0, |books| count(books.prefill_load));
    let sequences = worker.running.map(count).unwrap_or_else(|| load.saturating_sub(pending));
    let context = books.map_or_else(
        || u64::from(sequences) * u64::from(prompt),
        |books| u64::from(count(books.tokens_in_flight.saturating_sub(books.prefill_tokens))),
    );
    model.first_token(WorkAhead { prompt_tokens: ahead, sequences, context }, prompt, held_of(worker))
}
