//! The healthy worker with the fewest prompt tokens to process until this prompt is done: those that wait
//! there, and those of this prompt that it does not hold, which count twice.
#![cfg_attr(target_arch = "wasm32", no_std)]

use sgl_policy_sdk::prelude::*;

/// What tokens count that are processed again because another worker holds them: they keep this prompt waiting,
/// and those that come after it.
const PRICE: u64 = 2;

/// The policy. It has no state: what it needs comes with each decision.
#[derive(Debug)]
pub struct LeastUncached;

impl Policy for LeastUncached {
    fn init(init: &Init) -> Result<Self, Error> {
        Config::new(init, &[])?;
        Ok(Self)
    }

    fn select(&mut self, ctx: &Context<'_, Self>) -> Choice {
        let (prompt, held, waiting) = (ctx.prompt_tokens(), ctx.prefix_match(), ctx.uncached_tokens());
        let missing = |worker: usize| prompt.saturating_sub(held.known(worker).unwrap_or(0).into());
        let ahead = |worker: usize| u64::from(waiting.known(worker).unwrap_or(0));
        // Equal ones share by their load, and those of equal load by chance.
        let mut rng = ctx.rng();
        let cost = |&worker: &usize| {
            (PRICE * missing(worker) + ahead(worker), ctx.load().get(worker), rng.next_u64())
        };
        ctx.candidates().iter().min_by_key(cost).into()
    }
}

sgl_policy_sdk::export_policy! {
    policy: LeastUncached,
    name: "least_uncached",
    description: "the healthy worker with the fewest prompt tokens to process until this prompt is done",
    inputs: [Healthy, Excluded, Load, UncachedTokens, PrefixMatch, PromptTokens, Random],
    hooks: [without_table],
}
