//! What is measured, in figures.

use std::time::Duration;

use serde::Serialize;

use crate::load::histogram::{Quantiles, median};
use crate::load::record::Tally;

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

impl Figures {
    pub(crate) fn new(tally: &Tally, measured: Duration) -> Self {
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

    /// The median of each figure.
    pub(crate) fn median<'a>(all: impl Iterator<Item = &'a Self> + Clone) -> Self {
        let number = |of: fn(&Self) -> f64| median(all.clone().map(of));
        let quantiles = |of: fn(&Self) -> Option<&Quantiles>| {
            Quantiles::median(&all.clone().filter_map(of).collect::<Vec<_>>())
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

pub(crate) fn share(part: u64, all: u64) -> f64 {
    if all == 0 { 0.0 } else { part as f64 / all as f64 }
}
