//! The worker that holds most of the prompt; the least loaded one where nobody holds enough of it, or where
//! load is out of balance. The rule of SGLang's router and of SMG, on the router's prefix index.
#![cfg_attr(target_arch = "wasm32", no_std)]

use sgl_policy_sdk::prelude::*;

/// The policy. It has no state: what it needs comes with each decision.
#[derive(Debug)]
pub struct CacheAware {
    cache_threshold: f64,
    balance_abs_threshold: f64,
    balance_rel_threshold: f64,
}

impl Policy for CacheAware {
    fn init(init: &Init) -> Result<Self, Error> {
        let keys = ["cache_threshold", "balance_abs_threshold", "balance_rel_threshold"];
        let config = Config::new(init, &keys)?;
        Ok(Self {
            cache_threshold: config.number_in("cache_threshold", 0.5, 0.0..=1.0)?,
            balance_abs_threshold: config.number("balance_abs_threshold", 32.0, 0.0)?,
            balance_rel_threshold: config.number("balance_rel_threshold", 1.1, 1.0)?,
        })
    }

    fn select(&mut self, ctx: &Context<'_, Self>) -> Choice {
        let (candidates, load, mut rng) = (ctx.candidates(), ctx.load(), ctx.rng());
        let held = |worker: usize| ctx.prefix_match().get(worker);
        let most = candidates.iter().map(held).max().unwrap_or(-1);
        #[expect(clippy::cast_precision_loss, reason = "a number of tokens")]
        let enough = self.cache_threshold * ctx.prompt_tokens() as f64;
        if most <= 0 || f64::from(most) <= enough || self.is_out_of_balance(ctx) {
            return candidates.least(load, &mut rng).into();
        }
        // Of several that hold as much, the least loaded.
        let cost = |worker| if held(worker) == most { f64::from(load.get(worker)) } else { f64::MAX };
        candidates.least_by(&mut rng, cost).into()
    }
}

impl CacheAware {
    fn is_out_of_balance(&self, ctx: &Context<'_, Self>) -> bool {
        let loads = || ctx.candidates().iter().map(|worker| f64::from(ctx.load().get(worker)));
        let (least, most) = (loads().fold(f64::MAX, f64::min), loads().fold(0.0, f64::max));
        most - least > self.balance_abs_threshold && most > self.balance_rel_threshold * least
    }
}

sgl_policy_sdk::export_policy! {
    policy: CacheAware,
    name: "cache_aware",
    description: "the worker that holds most of the prompt, or the least loaded one",
    inputs: [Healthy, Excluded, Load, PrefixMatch, PromptTokens, Random],
    hooks: [without_table],
}
