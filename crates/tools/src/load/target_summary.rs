//! One target in figures.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::load::figures::{Figures, share};
use crate::load::plan::Plan;
use crate::load::record::Tally;
use crate::load::round_summary::{RoundSummary, WorkerShare, named_errors, shares};
use crate::load::run::TargetOutcome;

/// One target in figures.
#[derive(Clone, Debug, Serialize)]
pub struct TargetSummary {
    /// Its name.
    pub name: String,
    /// Its address.
    pub url: String,
    /// Requests of all rounds that were answered or failed.
    pub requests: u64,
    /// Those that failed.
    pub failed: u64,
    /// Their share, 0 to 1.
    pub error_rate: f64,
    /// Failed requests by what happened.
    pub errors: BTreeMap<String, u64>,
    /// What one failed answer of each kind said, or its beginning, where it said anything.
    pub error_bodies: BTreeMap<String, String>,
    /// Who answered, most answers first.
    pub workers: Vec<WorkerShare>,
    /// The median of each figure over the rounds.
    pub median: Figures,
    /// The rounds.
    pub rounds: Vec<RoundSummary>,
    /// Distributions over all rounds, for plots: points (milliseconds, share that is at most that).
    #[serde(skip)]
    pub curves: Curves,
}

/// Distributions over all rounds.
#[derive(Clone, Debug, Default)]
pub struct Curves {
    /// Of the latency.
    pub latency: Vec<(f64, f64)>,
    /// Of the time to the first text.
    pub first_token: Vec<(f64, f64)>,
    /// Of the time between texts.
    pub between_tokens: Vec<(f64, f64)>,
}

impl TargetSummary {
    pub(crate) fn new(plan: &Plan, outcome: &TargetOutcome) -> Self {
        let mut total = Tally::default();
        outcome.rounds.iter().for_each(|round| total.merge(&round.tally));
        let rounds: Vec<RoundSummary> = (1..)
            .zip(&outcome.rounds)
            .map(|(number, round)| RoundSummary::new(plan, number, round))
            .collect();
        let (failed, requests) = (total.failed(), total.ok + total.failed());
        Self {
            name: outcome.target.name().to_owned(),
            url: outcome.target.url().to_string(),
            requests,
            failed,
            error_rate: share(failed, requests),
            errors: named_errors(&total),
            error_bodies: total.said.iter().map(|(kind, text)| (kind.to_string(), text.clone())).collect(),
            workers: shares(&total),
            median: Figures::median(rounds.iter().map(|round| &round.figures)),
            rounds,
            curves: Curves {
                latency: total.latency.curve(),
                first_token: total.first_token.curve(),
                between_tokens: total.between_tokens.curve(),
            },
        }
    }
}
