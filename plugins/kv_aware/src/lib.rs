//! The worker whose cache holds most of the prompt, as long as it is not overloaded. What all of them hold
//! does not count.
//!
//! Overload is some requests more than the mean, or a cache that is nearly full. Standard deviations on top, as
//! in AIBrix, are for who asks for them: where half a fleet has all requests, one deviation above the mean is
//! as many as they have, and they take all that come. Without a holder the request goes to where the least
//! prompt work waits.
#![cfg_attr(target_arch = "wasm32", no_std)]

use sgl_policy_sdk::Lowest;
use sgl_policy_sdk::prelude::*;

/// The policy. It has no state: what it needs comes with each decision.
#[derive(Debug)]
pub struct KvAware {
    deviations: f64,
    slack: f64,
    kv_usage_limit: f64,
    min_match_tokens: f64,
}

impl Policy for KvAware {
    fn init(init: &Init) -> Result<Self, Error> {
        let config = Config::new(init, &["deviations", "slack", "kv_usage_limit", "min_match_tokens"])?;
        Ok(Self {
            deviations: config.number_in("deviations", 0.0, 0.0..=100.0)?,
            slack: config.number_in("slack", 4.0, 0.0..=1e6)?,
            kv_usage_limit: config.number_in("kv_usage_limit", 0.95, 0.0..=1.0)?,
            min_match_tokens: config.number_in("min_match_tokens", 128.0, 0.0..=1e9)?,
        })
    }

    fn select(&mut self, ctx: &Context<'_, Self>) -> Choice {
        let mut rng = ctx.rng();
        let open = self.open(ctx);
        let cached = |worker: usize| f64::from(ctx.prefix_match().known(worker).unwrap_or(0));
        // What all of them hold, such as a system prompt, is no reason to go to any.
        let shared = ctx.candidates().iter().map(cached).reduce(f64::min).unwrap_or(0.0);
        let held = |worker: usize| cached(worker) - shared;
        let load = |worker: usize| f64::from(ctx.load().get(worker));
        let mut holder = Lowest::NONE;
        ctx.candidates().iter().filter(|worker| open(*worker)).for_each(|worker| {
            if held(worker) > 0.0 && held(worker) >= self.min_match_tokens {
                // Tokens are whole, so a millionth for each request tells only equal ones apart.
                holder.offer(load(worker) * 1e-6 - held(worker), worker, &mut rng);
            }
        });
        let work = |worker: usize| {
            let waiting = f64::from(ctx.uncached_tokens().known(worker).unwrap_or(0));
            waiting + ctx.missing_tokens(worker) + load(worker) * 1e-6
        };
        holder.kept().or_else(|| ctx.candidates().least_by(&mut rng, work)).into()
    }
}

impl KvAware {
    /// Says of a worker whether it may take requests for its cache's sake.
    fn open<'a>(&self, ctx: &'a Context<'_, Self>) -> impl Fn(usize) -> bool + use<'a> {
        let load = |worker: usize| f64::from(ctx.load().get(worker));
        let (count, sum, squares) =
            ctx.candidates().iter().fold((0.0, 0.0, 0.0), |(count, sum, squares), it| {
                (count + 1.0, sum + load(it), squares + load(it) * load(it))
            });
        let mean = sum / f64::max(count, 1.0);
        let variance = f64::max(squares / f64::max(count, 1.0) - mean * mean, 0.0);
        // Compared as squares: `core` has no square root.
        let (free, bound) = (mean + self.slack, self.deviations * self.deviations * variance);
        let kv_usage_limit = self.kv_usage_limit;
        move |worker| {
            let over = f64::max(f64::from(ctx.load().get(worker)) - free, 0.0);
            let used = ctx.kv_usage().known(worker).map_or(0.0, f64::from);
            over * over <= bound && used <= kv_usage_limit
        }
    }
}

sgl_policy_sdk::export_policy! {
    policy: KvAware,
    name: "kv_aware",
    description: "the worker whose cache holds most of the prompt, as long as it is not overloaded",
    inputs: [Healthy, Excluded, Load, KvUsage, UncachedTokens, PrefixMatch, PromptTokens, Random],
    hooks: [without_table],
}
