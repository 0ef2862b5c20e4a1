//! One round in figures.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::load::figures::{Figures, share};
use crate::load::plan::Plan;
use crate::load::record::{BIN, Tally};
use crate::load::run::RoundOutcome;
use crate::load::swaps::SwapMark;

/// One round in figures.
#[derive(Clone, Debug, Serialize)]
pub struct RoundSummary {
    /// Its number, from 1.
    pub round: u32,
    /// Answered requests.
    pub ok: u64,
    /// Failed requests by what happened.
    pub errors: BTreeMap<String, u64>,
    /// Requests of the warm-up, which count nowhere else.
    pub warmup_requests: u64,
    /// Requests that an interruption cut off, which count nowhere else.
    pub interrupted_requests: u64,
    /// Tokens of all answers.
    pub tokens: u64,
    /// The time that the throughput refers to.
    pub measured_seconds: f64,
    /// Its figures.
    #[serde(flatten)]
    pub figures: Figures,
    /// Its course.
    pub timeline: Timeline,
    /// Swaps, in order.
    pub swaps: Vec<SwapSummary>,
}

/// The course of a round, from the end of the warm-up.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Timeline {
    /// Width of a bin.
    pub bin_seconds: f64,
    /// Answers in each bin.
    pub ok: Vec<u32>,
    /// Failed requests in each bin.
    pub failed: Vec<u32>,
    /// The longest latency of the answers in each bin; 0 if there are none.
    pub max_ms: Vec<f64>,
}

/// A swap that was tried.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SwapSummary {
    /// When, from the end of the warm-up.
    pub at_seconds: f64,
    /// Until it was done.
    pub took_ms: f64,
    /// The module.
    pub module: String,
    /// The generation that it made.
    pub generation: Option<u64>,
    /// Why it made none.
    pub error: Option<String>,
}

/// Who gave how many of the answers.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct WorkerShare {
    /// What the answers call it.
    pub worker: String,
    /// Its answers.
    pub requests: u64,
    /// Its share of those that name a worker, 0 to 1.
    pub share: f64,
}

impl RoundSummary {
    pub(crate) fn new(plan: &Plan, round: u32, outcome: &RoundOutcome) -> Self {
        let RoundOutcome { tally, measured, swaps } = outcome;
        let modules = plan.swaps.as_ref().map(|swaps| swaps.modules.as_slice()).unwrap_or_default();
        let swap = |mark: &SwapMark| SwapSummary {
            at_seconds: mark.at.as_secs_f64(),
            took_ms: mark.took.as_secs_f64() * 1000.0,
            module: modules.get(mark.module).cloned().unwrap_or_default(),
            generation: mark.result.as_ref().ok().copied(),
            error: mark.result.as_ref().err().cloned(),
        };
        Self {
            round,
            ok: tally.ok,
            errors: named_errors(tally),
            warmup_requests: tally.warmup,
            interrupted_requests: tally.interrupted,
            tokens: tally.tokens,
            measured_seconds: measured.as_secs_f64(),
            figures: Figures::new(tally, *measured),
            timeline: Timeline {
                bin_seconds: BIN.as_secs_f64(),
                ok: tally.bins.iter().map(|bin| bin.ok).collect(),
                failed: tally.bins.iter().map(|bin| bin.failed).collect(),
                max_ms: tally.bins.iter().map(|bin| bin.max_us as f64 / 1000.0).collect(),
            },
            swaps: swaps.iter().map(swap).collect(),
        }
    }
}

pub(crate) fn named_errors(tally: &Tally) -> BTreeMap<String, u64> {
    tally.errors.iter().map(|(kind, count)| (kind.to_string(), *count)).collect()
}

pub(crate) fn shares(tally: &Tally) -> Vec<WorkerShare> {
    let all: u64 = tally.workers.values().sum();
    let named = tally.workers.iter().map(|(name, requests)| WorkerShare {
        worker: String::from_utf8_lossy(name.as_bytes()).into_owned(),
        requests: *requests,
        share: share(*requests, all),
    });
    let mut shares: Vec<WorkerShare> = named.collect();
    shares.sort_by(|one, other| other.requests.cmp(&one.requests).then(one.worker.cmp(&other.worker)));
    shares
}
