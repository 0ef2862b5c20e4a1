//! The figures of one run.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::report::index_sample::IndexSample;
use crate::report::quantile_set::QuantileSet;
use crate::report::request_groups::GroupRun;
use crate::report::sent_timeline::SentTimeline;

/// What a run was.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RunFacts {
    /// The policy, as its user calls it.
    pub policy: String,
    /// What the workload's times were divided by.
    pub load: f64,
    /// The seed of all that is left to chance.
    pub seed: u64,
}

/// Why requests were not answered though no worker failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RefusalCause {
    /// The policy refused them.
    Shed,
    /// Nobody was chosen.
    Unplaced,
    /// The cache of the worker that was chosen never holds them.
    TooLarge,
}

impl RefusalCause {
    fn said(self) -> &'static str {
        match self {
            Self::Shed => "the policy refused them",
            Self::Unplaced => "nobody was chosen for them",
            Self::TooLarge => {
                "prompt and answer are larger than the cache of the worker that was chosen (kv_blocks times \
                 block_tokens of the model)"
            }
        }
    }
}

/// What one worker did in a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct WorkerRun {
    /// Requests that it answered.
    pub requests: u64,
    /// Share of the time in which it was not idle.
    pub busy: f64,
    /// Prompt tokens that it processed.
    pub processed_tokens: u64,
    /// Prompt tokens that it had in its cache.
    pub cached_tokens: u64,
    /// How often it preempted a request.
    pub preemptions: u64,
}

/// The figures of one run. Times in seconds.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RunReport {
    /// What it was.
    #[serde(flatten)]
    pub facts: RunFacts,
    /// Requests that were answered.
    pub answered: u64,
    /// Requests that were not: nobody was chosen, or no worker could ever serve them.
    pub refused: u64,
    /// Why.
    pub refusals: BTreeMap<RefusalCause, u64>,
    /// Requests that were not answered, or not to their ends, since workers failed.
    pub failed: u64,
    /// How often a request was tried again at another worker.
    pub retries: u64,
    /// Requests that were never made, since one before them in their session was not answered.
    pub unasked: u64,
    /// Requests that the policy had wait in the router.
    pub held: u64,
    /// Decisions that the fallback made in the plugin's place, by cause.
    pub fallbacks: BTreeMap<String, u64>,
    /// From the arrival at the router to the first token; of nobody if none was answered, as the next two.
    pub ttft: Option<QuantileSet>,
    /// Times to the first token, and the share of requests for which it took no longer.
    #[serde(skip)]
    pub ttft_curve: Vec<(f64, f64)>,
    /// Each request's mean time for a token after the first.
    pub tpot: Option<QuantileSet>,
    /// From the arrival at the router to the last token.
    pub e2e: Option<QuantileSet>,
    /// Share of the prompt tokens that workers had in their caches, of requests that were answered.
    pub hit_rate: Option<f64>,
    /// What the worker with the most work, in time, had more than the mean: 1.0 is none; unless none worked.
    pub imbalance: Option<f64>,
    /// Share of all requests whose first token came in time.
    pub ttft_ok: f64,
    /// Share of all requests that met the whole objective.
    pub goodput: f64,
    /// Requests that met it, a second.
    pub goodput_rate: f64,
    /// Generated tokens a second.
    pub throughput: f64,
    /// Requests that are reported apart, by their headers or the lengths of their prompts.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<GroupRun>,
    /// Tokens of the prompts that were answered.
    pub prompt_tokens: u64,
    /// Tokens of the answers.
    pub output_tokens: u64,
    /// From the first arrival to the last token.
    pub duration: f64,
    /// Each worker, or each rank of each.
    pub workers: Vec<WorkerRun>,
    /// How many requests each was sent over time.
    pub sent_over_time: SentTimeline,
    /// How large the router's prefix index was over time, if the policy has it used.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub index_over_time: Vec<IndexSample>,
    /// What the run took on this machine.
    pub wall: f64,
}

impl RunReport {
    /// What a reader must know besides the figures, a sentence each.
    pub fn notes(&self) -> Vec<String> {
        let RunFacts { policy, load, seed } = &self.facts;
        let who = format!("{policy} at load {load}, seed {seed}");
        let fallback = |(cause, count)| format!("{who}: the fallback decided {count} times ({cause})");
        let mut notes: Vec<String> = self.fallbacks.iter().map(fallback).collect();
        if self.answered == 0 {
            notes.push(format!("{who}: no request was answered, so there are no times"));
        }
        for (cause, count) in &self.refusals {
            notes.push(format!("{who}: {count} requests were not answered: {}", cause.said()));
        }
        if self.failed > 0 {
            notes.push(format!("{who}: {} requests failed with their workers", self.failed));
        }
        if self.unasked > 0 {
            notes.push(format!("{who}: {} requests of their sessions were not made then", self.unasked));
        }
        notes
    }

    /// Requests that were answered in a second.
    #[expect(clippy::cast_precision_loss, reason = "counts are far below 2^53")]
    pub fn answered_rate(&self) -> f64 {
        if self.duration > 0.0 { self.answered as f64 / self.duration } else { 0.0 }
    }

    /// The same without what depends on the machine.
    #[must_use]
    pub fn without_wall(self) -> Self {
        Self { wall: 0.0, ..self }
    }
}
