//! What workers are scored by, each from 0 to 1, higher is better.

use sgl_policy_sdk::Context;

use crate::WeightedScorers;

/// A way to score.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scorer {
    /// Fewest requests that wait there, as reported, else that are in flight.
    Queue,
    /// Fewest requests in flight.
    Load,
    /// Most free KV cache.
    Kv,
    /// Most of the prompt in its cache.
    Prefix,
    /// Least prompt work to do, the request's own included.
    Work,
    /// Fewest tokens in flight.
    Tokens,
    /// Shortest time to first token.
    Ttft,
}

impl Scorer {
    /// All of them by their names.
    pub(crate) const NAMED: [(&'static str, Self); 7] = [
        ("queue", Self::Queue),
        ("load", Self::Load),
        ("kv", Self::Kv),
        ("prefix", Self::Prefix),
        ("work", Self::Work),
        ("tokens", Self::Tokens),
        ("ttft", Self::Ttft),
    ];

    pub(crate) fn by_name(name: &str) -> Option<Self> {
        Self::NAMED.iter().find(|(known, _)| *known == name).map(|(_, scorer)| *scorer)
    }

    /// What a worker is measured by: less is better.
    fn measure(self, ctx: &Context<'_, WeightedScorers>, worker: usize) -> f64 {
        let known = |number: Option<u32>| f64::from(number.unwrap_or(0));
        let load = f64::from(ctx.load().get(worker));
        match self {
            Self::Queue => ctx.waiting().known(worker).map_or(load, f64::from),
            Self::Load => load,
            Self::Kv => f64::from(ctx.kv_usage().known(worker).unwrap_or(0.0)),
            Self::Prefix => ctx.missing_tokens(worker),
            Self::Work => known(ctx.uncached_tokens().known(worker)) + ctx.missing_tokens(worker),
            Self::Tokens => known(ctx.tokens_in_flight().known(worker)),
            Self::Ttft => f64::from(ctx.ttft_ewma().known(worker).unwrap_or(0.0)),
        }
    }

    /// The scale of its measures among the workers that may be chosen. A share of the cache or of the prompt
    /// has its own; the others reach from the best to the worst.
    pub(crate) fn scale(self, ctx: &Context<'_, WeightedScorers>) -> Scale {
        let measures = || ctx.candidates().iter().map(|worker| self.measure(ctx, worker));
        #[expect(clippy::cast_precision_loss, reason = "a number of tokens")]
        let (best, worst) = match self {
            Self::Kv => (0.0, 1.0),
            Self::Prefix => (0.0, ctx.prompt_tokens() as f64),
            _ => (measures().fold(f64::INFINITY, f64::min), measures().fold(f64::NEG_INFINITY, f64::max)),
        };
        Scale { scorer: self, best, worst }
    }
}

/// A scorer with what its measures lie between.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scale {
    scorer: Scorer,
    best: f64,
    worst: f64,
}

impl Scale {
    /// The score of one worker; 1 for all where all are equal.
    pub(crate) fn score(&self, ctx: &Context<'_, WeightedScorers>, worker: usize) -> f64 {
        let span = self.worst - self.best;
        if span > 0.0 { (self.worst - self.scorer.measure(ctx, worker)) / span } else { 1.0 }
    }
}
