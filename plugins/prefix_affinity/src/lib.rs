//! The same prompt prefix goes to the same worker, where its KV cache is warm, unless
//! that worker is overloaded.
//!
//! Rendezvous hashing (Thaler and Ravishankar, "Using name-based mappings to increase
//! hit rates", IEEE/ACM Transactions on Networking 6(1), 1998): every worker gets a
//! score from the hash of the prefix and the hash of its URL, and the highest wins.
//! Unlike a ring it needs no virtual nodes, and a worker that comes or goes moves
//! only its own share of prefixes.
//!
//! A worker whose load is above `factor × mean + slack` takes no more (the bound of
//! Mirrokni, Thorup and Zadimoghaddam, "Consistent hashing with bounded loads", SODA
//! 2018). Its prefixes spill to the next worker in their own rendezvous order, so
//! one prefix always spills to the same place and warms one more cache, not all.
#![cfg_attr(target_arch = "wasm32", no_std)]

extern crate alloc;

use alloc::vec::Vec;

use sgl_policy_sdk::prelude::*;
use sgl_policy_sdk::{hash, mix};

/// Bytes of a prompt that count by default: more than prompts share that have nothing else in
/// common, such as a system prompt. The README says what was measured.
const PREFIX_BYTES: usize = 8 << 10;

/// The policy.
#[derive(Debug)]
pub struct PrefixAffinity {
    prefix_bytes: usize,
    factor: f64,
    slack: f64,
    /// Hash of each worker's URL, in table order.
    workers: Vec<u64>,
}

impl Policy for PrefixAffinity {
    fn init(init: &Init) -> Result<Self, Error> {
        let config = Config::new(init, &["prefix_bytes", "factor", "slack"])?;
        let prefix_bytes = config.size("prefix_bytes", PREFIX_BYTES)?;
        if prefix_bytes == 0 {
            return Err("config key `prefix_bytes` must be at least 1".into());
        }
        Ok(Self {
            prefix_bytes,
            // Below 1 the least loaded worker itself could be over the bound.
            factor: config.number("factor", 1.25, 1.0)?,
            slack: config.number("slack", 4.0, 0.0)?,
            workers: Vec::new(),
        })
    }

    fn on_workers(&mut self, table: &Table) {
        self.workers = table.iter().map(|worker| hash(worker.url.as_bytes())).collect();
    }

    fn select(&mut self, ctx: &Context<'_, Self>) -> Choice {
        match ctx.text_bytes() {
            Some(text) if !text.is_empty() => self.by_prefix(ctx, text).into(),
            // Nothing to be near to: the least loaded.
            _ => ctx.candidates().least(ctx.load(), &mut ctx.rng()).into(),
        }
    }
}

impl PrefixAffinity {
    fn by_prefix(&self, ctx: &Context<'_, Self>, text: &[u8]) -> Option<usize> {
        let prefix = hash(text.get(..self.prefix_bytes).unwrap_or(text));
        let limit = self.limit(ctx);
        let load = ctx.load();
        let open = ctx.candidates().iter().filter(|index| f64::from(load.get(*index)) <= limit);
        // The highest score among those that are not overloaded is the first of them
        // in rendezvous order: no sorting, no second look.
        open.max_by_key(|index| self.workers.get(*index).map(|worker| mix(prefix ^ worker)))
    }

    /// The load that a worker may have and still take a request.
    ///
    /// The mean counts the request that is being decided, so that an idle fleet with
    /// slack 0 has room for it. At least one candidate is never above its own mean.
    fn limit(&self, ctx: &Context<'_, Self>) -> f64 {
        let load = ctx.load();
        let loads = ctx.candidates().iter().map(|index| f64::from(load.get(index)));
        let (sum, count) = loads.fold((1.0, 0.0), |(sum, count), load| (sum + load, count + 1.0));
        self.factor * (sum / f64::max(count, 1.0)) + self.slack
    }
}

sgl_policy_sdk::export_policy! {
    policy: PrefixAffinity,
    name: "prefix_affinity",
    description: "the same prompt prefix goes to the same worker unless it is overloaded",
    inputs: [Healthy, Excluded, Load, RequestText, Random],
}
