//! One target in figures against the first.

use serde::Serialize;

use crate::load::figures::Figures;
use crate::load::histogram::median;
use crate::load::target_summary::TargetSummary;

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

impl Comparison {
    pub(crate) fn new(first: &TargetSummary, other: &TargetSummary) -> Self {
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
