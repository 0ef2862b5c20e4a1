//! The lowest product of prompt work and requests: tokens that wait at a worker and those of this prompt that
//! it does not hold, times its requests.
//!
//! LMetric, arXiv 2603.15202: two signals, no weight to tune.
#![cfg_attr(target_arch = "wasm32", no_std)]

use sgl_policy_sdk::prelude::*;

/// The policy. It has no state: what it needs comes with each decision.
#[derive(Debug)]
pub struct LMetric {
    own_request: f64,
}

impl Policy for LMetric {
    fn init(init: &Init) -> Result<Self, Error> {
        let config = Config::new(init, &["own_request"])?;
        Ok(Self { own_request: config.number_in("own_request", 1.0, 0.0..=1e6)? })
    }

    fn select(&mut self, ctx: &Context<'_, Self>) -> Choice {
        let product = |worker: usize| {
            let waiting = f64::from(ctx.uncached_tokens().known(worker).unwrap_or(0));
            (waiting + ctx.missing_tokens(worker)) * (f64::from(ctx.load().get(worker)) + self.own_request)
        };
        ctx.candidates().least_by(&mut ctx.rng(), product).into()
    }
}

sgl_policy_sdk::export_policy! {
    policy: LMetric,
    name: "lmetric",
    description: "the lowest product of prompt work and requests",
    inputs: [Healthy, Excluded, Load, UncachedTokens, PrefixMatch, PromptTokens, Random],
    hooks: [without_table],
}
