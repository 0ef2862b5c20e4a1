//! A prompt goes to the worker that holds the most of it, where its KV cache is warm, unless that worker is
//! overloaded or done with it later than the prompt's home.
//!
//! Who holds what is told by the router's prefix index; what many prompts begin with, such as a system
//! prompt, does not count. The home is for prompts that nobody holds, and is found by rendezvous hashing (Thaler and Ravishankar, "Using name-based mappings to increase hit rates",
//! IEEE/ACM Transactions on Networking 6(1), 1998): every worker gets a score from the hash of the prompt's
//! beginning and the hash of its URL, and the highest wins. Unlike a ring it needs no virtual nodes, and a
//! worker that comes or goes moves only its own share of prompts. All routers find the same home.
//!
//! A worker whose load is above `factor × mean + slack` takes no more (the bound of Mirrokni, Thorup and
//! Zadimoghaddam, "Consistent hashing with bounded loads", SODA 2018). Its prompts spill to the next worker
//! in their own rendezvous order, so one beginning always spills to the same place.
#![cfg_attr(target_arch = "wasm32", no_std)]

extern crate alloc;

mod shared;

use alloc::vec::Vec;

use sgl_policy_sdk::prelude::*;
use sgl_policy_sdk::{hash, mix};

use crate::shared::RecentPrompts;

/// Bytes of a prompt that make its home by default: more than prompts share that have nothing else in
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
    recent: RecentPrompts,
}

impl Policy for PrefixAffinity {
    fn init(init: &Init) -> Result<Self, Error> {
        let config = Config::new(init, &["prefix_bytes", "factor", "slack"])?;
        Ok(Self {
            prefix_bytes: config.size_in("prefix_bytes", PREFIX_BYTES, 1..=usize::MAX)?,
            // Below 1 the least loaded worker itself could be over the bound.
            factor: config.number("factor", 1.25, 1.0)?,
            slack: config.number("slack", 4.0, 0.0)?,
            workers: Vec::new(),
            recent: RecentPrompts::new(),
        })
    }

    fn on_workers(&mut self, table: &Table) {
        self.workers = table.iter().map(|worker| hash(worker.url.as_bytes())).collect();
    }

    fn select(&mut self, ctx: &Context<'_, Self>) -> Choice {
        let prompt = self.prompt(ctx);
        let (load, limit) = (ctx.load(), self.limit(ctx));
        let open = || ctx.candidates().iter().filter(|index| f64::from(load.get(*index)) <= limit);
        let key = prompt.key.unwrap_or(0);
        let rank = |index: usize| self.workers.get(index).map(|worker| mix(key ^ worker));

        // The highest rank among those that are not overloaded is the first of them in rendezvous order: no
        // sorting, no second look.
        let home = match prompt.key {
            Some(_) => open().max_by_key(|index| rank(*index)),
            None => ctx.candidates().least(load, &mut ctx.rng()),
        };
        let held = |index: usize| ctx.prefix_match().get(index);
        let holders = open().filter(|index| f64::from(held(*index)) >= prompt.own_from);
        let holder = holders.max_by_key(|index| (held(*index), home == Some(*index), rank(*index)));
        match (home, holder) {
            (Some(home), Some(holder)) if ahead(ctx, home) < ahead(ctx, holder) => home.into(),
            (home, holder) => holder.or(home).into(),
        }
    }
}

/// What a decision needs to know of its prompt.
struct Prompt {
    /// What its home is found by; none without text.
    key: Option<u64>,
    /// Who holds so many tokens of it holds more than the part that it shares with many others.
    own_from: f64,
}

/// Prompt tokens that worker `index` has to process until it is done with this prompt: a hit is worth what
/// it saves, and no more.
fn ahead(ctx: &Context<'_, PrefixAffinity>, index: usize) -> f64 {
    f64::from(ctx.uncached_tokens().known(index).unwrap_or(0)) + ctx.missing_tokens(index)
}

impl PrefixAffinity {
    /// The home is found by the beginning of the prompt, unless nearly everybody's is the same: then that
    /// would send all to one worker, until it is over its bound, and all of the prompt counts. For the same
    /// reason a worker that holds no more than this does not count as its holder.
    fn prompt(&mut self, ctx: &Context<'_, Self>) -> Prompt {
        let Some(text) = ctx.text_bytes().filter(|text| !text.is_empty()) else {
            return Prompt { key: None, own_from: 1.0 };
        };
        let shared = self.recent.shared(text, ctx.candidates().count());
        let beginning =
            if shared.at_least < self.prefix_bytes { text.get(..self.prefix_bytes) } else { None };
        #[expect(clippy::cast_precision_loss, reason = "sizes of prompts are far below 2^53")]
        let own_from = shared.below as f64 * ctx.prompt_tokens() as f64 / text.len() as f64;
        Prompt { key: Some(hash(beginning.unwrap_or(text))), own_from: f64::max(own_from, 1.0) }
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
    description: "a prompt goes to the worker that holds the most of it unless that is overloaded",
    inputs: [Healthy, Excluded, Load, UncachedTokens, PrefixMatch, PromptTokens, RequestText, Random],
}
