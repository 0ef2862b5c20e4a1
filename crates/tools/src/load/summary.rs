//! What a run has shown, as figures: the one source of all reports, and itself the JSON one.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;
use serde_json::Value;
use serde_json::json;

use crate::load::arrivals::Pace;
use crate::load::histogram::Quantiles;
use crate::load::histogram::median;
use crate::load::plan::Plan;
use crate::load::record::BIN;
use crate::load::record::Tally;
use crate::load::run::RoundOutcome;
use crate::load::run::RunOutcome;
use crate::load::run::TargetOutcome;
use crate::load::run_info::RunInfo;
use crate::load::swaps::SwapMark;

/// Version of the JSON form; it rises if a field changes its meaning or goes.
const VERSION: u32 = 1;

/// A run in figures. Serialised, it is the JSON report.
#[derive(Clone, Debug, Serialize)]
pub struct Summary {
    /// Version of this form.
    pub version: u32,
    /// When, where and how the run was made.
    pub run: RunInfo,
    /// What was asked for.
    pub settings: Value,
    /// True if the run was ended early.
    pub interrupted: bool,
    /// In the order of the plan.
    pub targets: Vec<TargetSummary>,
    /// Every further target against the first.
    pub comparison: Vec<Comparison>,
}

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

/// What is measured.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Figures {
    /// Answers within the round's time, per second of it.
    pub requests_per_second: f64,
    /// Tokens of those answers.
    pub tokens_per_second: f64,
    /// From due to the end of the answer.
    pub latency_ms: Option<Quantiles>,
    /// From taken up to the end of the answer: without what the request waited in this program.
    pub service_ms: Option<Quantiles>,
    /// From due to taken up.
    pub lag_ms: Option<Quantiles>,
    /// From due to the first text; streams only.
    pub first_token_ms: Option<Quantiles>,
    /// From text to text; streams only.
    pub between_tokens_ms: Option<Quantiles>,
}

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

/// A target against the first: medians of the ratios of each round.
#[derive(Clone, Debug, Serialize)]
pub struct Comparison {
    /// The target.
    pub name: String,
    /// The first.
    pub against: String,
    /// Above 1: it answers more.
    pub requests_per_second: Option<f64>,
    /// Below 1: it is faster.
    pub latency_p50: Option<f64>,
    /// Below 1: it is faster.
    pub latency_p99: Option<f64>,
    /// Below 1: it is faster.
    pub first_token_p50: Option<f64>,
    /// Below 1: it is faster.
    pub first_token_p99: Option<f64>,
    /// How far the rounds differ.
    pub spread: Spreads,
}

/// The lowest and the highest of the rounds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Spread {
    /// The lowest.
    pub low: f64,
    /// The highest.
    pub high: f64,
}

/// The lowest and the highest ratio of the rounds, for each ratio of a [`Comparison`].
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Spreads {
    /// Of the throughput.
    pub requests_per_second: Option<Spread>,
    /// Of the median latency.
    pub latency_p50: Option<Spread>,
    /// Of the 99th percentile of the latency.
    pub latency_p99: Option<Spread>,
    /// Of the median time to the first token.
    pub first_token_p50: Option<Spread>,
    /// Of its 99th percentile.
    pub first_token_p99: Option<Spread>,
}

impl Spread {
    /// Of some numbers; `None` of none.
    pub fn of(numbers: impl Iterator<Item = f64>) -> Option<Self> {
        numbers.fold(None, |spread: Option<Self>, number| {
            let Self { low, high } = spread.unwrap_or(Self { low: number, high: number });
            Some(Self { low: low.min(number), high: high.max(number) })
        })
    }
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

impl Summary {
    /// The figures of a run.
    pub fn new(plan: &Plan, outcome: &RunOutcome, run: RunInfo) -> Self {
        let targets: Vec<TargetSummary> =
            outcome.targets.iter().map(|target| TargetSummary::new(plan, target)).collect();
        let comparison = match targets.split_first() {
            Some((first, others)) => others.iter().map(|other| Comparison::new(first, other)).collect(),
            None => Vec::new(),
        };
        Self {
            version: VERSION,
            run,
            settings: settings(plan),
            interrupted: outcome.interrupted,
            targets,
            comparison,
        }
    }

    /// The highest share of failed requests of a target, 0 to 1.
    pub fn highest_error_rate(&self) -> f64 {
        self.targets.iter().map(|target| target.error_rate).fold(0.0, f64::max)
    }

    /// The first target that answered no request at all, though it was asked.
    pub fn all_failed(&self) -> Option<&TargetSummary> {
        self.targets.iter().find(|target| target.requests > 0 && target.failed == target.requests)
    }

    /// The JSON report, one line.
    pub fn to_json(&self) -> String {
        // Plain data with text keys: nothing in it can fail.
        serde_json::to_string(self).unwrap_or_default()
    }
}

impl TargetSummary {
    fn new(plan: &Plan, outcome: &TargetOutcome) -> Self {
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
            median: Figures::median(&rounds),
            rounds,
            curves: Curves {
                latency: total.latency.curve(),
                first_token: total.first_token.curve(),
                between_tokens: total.between_tokens.curve(),
            },
        }
    }
}

impl Figures {
    fn new(tally: &Tally, measured: Duration) -> Self {
        let seconds = measured.as_secs_f64();
        let per_second = |count: u64| if seconds > 0.0 { count as f64 / seconds } else { 0.0 };
        Self {
            requests_per_second: per_second(tally.ok_in_time),
            tokens_per_second: per_second(tally.tokens_in_time),
            latency_ms: tally.latency.quantiles(),
            service_ms: tally.service.quantiles(),
            lag_ms: tally.lag.quantiles(),
            first_token_ms: tally.first_token.quantiles(),
            between_tokens_ms: tally.between_tokens.quantiles(),
        }
    }

    fn median(rounds: &[RoundSummary]) -> Self {
        let number = |of: fn(&Self) -> f64| median(rounds.iter().map(|round| of(&round.figures)));
        let quantiles = |of: fn(&Self) -> Option<&Quantiles>| {
            Quantiles::median(&rounds.iter().filter_map(|round| of(&round.figures)).collect::<Vec<_>>())
        };
        Self {
            requests_per_second: number(|figures| figures.requests_per_second).unwrap_or(0.0),
            tokens_per_second: number(|figures| figures.tokens_per_second).unwrap_or(0.0),
            latency_ms: quantiles(|figures| figures.latency_ms.as_ref()),
            service_ms: quantiles(|figures| figures.service_ms.as_ref()),
            lag_ms: quantiles(|figures| figures.lag_ms.as_ref()),
            first_token_ms: quantiles(|figures| figures.first_token_ms.as_ref()),
            between_tokens_ms: quantiles(|figures| figures.between_tokens_ms.as_ref()),
        }
    }
}

impl RoundSummary {
    fn new(plan: &Plan, round: u32, outcome: &RoundOutcome) -> Self {
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

impl Comparison {
    fn new(first: &TargetSummary, other: &TargetSummary) -> Self {
        let ratios = |of: fn(&Figures) -> Option<f64>| {
            let pairs = first.rounds.iter().zip(&other.rounds);
            pairs.filter_map(move |(first, other)| {
                let (first, other) = (of(&first.figures)?, of(&other.figures)?);
                (first > 0.0).then_some(other / first)
            })
        };
        let both = |of: fn(&Figures) -> Option<f64>| (median(ratios(of)), Spread::of(ratios(of)));
        let throughput = both(|figures| Some(figures.requests_per_second));
        let latency_p50 = both(|figures| Some(figures.latency_ms.as_ref()?.p50));
        let latency_p99 = both(|figures| Some(figures.latency_ms.as_ref()?.p99));
        let first_token_p50 = both(|figures| Some(figures.first_token_ms.as_ref()?.p50));
        let first_token_p99 = both(|figures| Some(figures.first_token_ms.as_ref()?.p99));
        Self {
            name: other.name.clone(),
            against: first.name.clone(),
            requests_per_second: throughput.0,
            latency_p50: latency_p50.0,
            latency_p99: latency_p99.0,
            first_token_p50: first_token_p50.0,
            first_token_p99: first_token_p99.0,
            spread: Spreads {
                requests_per_second: throughput.1,
                latency_p50: latency_p50.1,
                latency_p99: latency_p99.1,
                first_token_p50: first_token_p50.1,
                first_token_p99: first_token_p99.1,
            },
        }
    }
}

fn named_errors(tally: &Tally) -> BTreeMap<String, u64> {
    tally.errors.iter().map(|(kind, count)| (kind.to_string(), *count)).collect()
}

fn shares(tally: &Tally) -> Vec<WorkerShare> {
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

fn share(part: u64, all: u64) -> f64 {
    if all == 0 { 0.0 } else { part as f64 / all as f64 }
}

fn settings(plan: &Plan) -> Value {
    let pace = match &plan.pace {
        Pace::Closed { connections } => json!({"kind": "closed", "connections": connections}),
        Pace::Constant { per_second } => json!({"kind": "constant", "per_second": per_second}),
        Pace::Poisson { per_second } => json!({"kind": "poisson", "per_second": per_second}),
        Pace::Trace { trace, speed } => {
            json!({"kind": "trace", "requests": trace.entries().len(), "speed": speed})
        }
    };
    let seconds = |duration: Duration| duration.as_secs_f64();
    let limits = &plan.limits;
    json!({
        "pace": pace,
        "model": plan.shape.model,
        "prompt_tokens": plan.shape.prompt_tokens,
        "output_tokens": plan.shape.output_tokens,
        "prompts": plan.shape.prompts,
        "stream": plan.shape.stream,
        "rounds": plan.rounds,
        "duration_seconds": limits.duration.map(seconds),
        "requests": limits.requests,
        "warmup_seconds": seconds(limits.warmup),
        "timeout_seconds": seconds(limits.timeout),
        "drain_seconds": seconds(limits.drain),
        "max_in_flight": limits.max_in_flight,
        "seed": plan.seed,
        "swaps": plan.swaps.as_ref().map(|swaps| json!({
            "every_seconds": seconds(swaps.every),
            "target": swaps.target,
            "modules": swaps.modules,
        })),
    })
}
