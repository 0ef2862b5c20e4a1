//! The soonest first token, at a price for recomputation that follows congestion.
//!
//! A request that does not go to its cache saves its own wait and costs everybody else the recomputation. In
//! a queue this harm is the work times the requests that wait, so the price of own work is one factor
//! `1 + kappa × waiting requests per worker`: 1 on an idle fleet, higher the more wait. A fixed weight is
//! right at one load only, and no weight gives hits away just when they matter.
#![cfg_attr(target_arch = "wasm32", no_std)]

use prompt_clock::{Clocks, WorkModel};
use sgl_policy_sdk::prelude::*;

/// The policy. What it has learnt is one truth for all requests: one instance.
#[derive(Debug)]
pub struct Toll {
    kappa: f64,
    clocks: Clocks,
}

impl Policy for Toll {
    fn init(init: &Init) -> Result<Self, Error> {
        let [tokens_per_s, attention_tokens] = WorkModel::KEYS;
        let config = Config::new(init, &["kappa", tokens_per_s, attention_tokens])?;
        let kappa = config.number_in("kappa", 2.0, 0.0..=100.0)?;
        Ok(Self { kappa, clocks: Clocks::new(WorkModel::new(config)?, init.seed) })
    }

    fn on_workers(&mut self, table: &Table) {
        self.clocks.on_workers(table);
    }

    fn select(&mut self, ctx: &Context<'_, Self>) -> Choice {
        let mut rng = ctx.rng();
        if ctx.leg() == Leg::Decode {
            // No prompt is read there.
            return ctx.candidates().least(ctx.load(), &mut rng).into();
        }
        let look = self.clocks.look(ctx, 0.0);
        match self.clocks.least_toll(look, self.kappa, &mut rng) {
            Some(quote) => self.clocks.place(quote, look.now),
            None => Choice::Nobody,
        }
    }
}

prompt_clock::clock_hooks!(Toll);

sgl_policy_sdk::export_policy! {
    policy: Toll,
    name: "toll",
    description: "the soonest first token, at a price for recomputation that follows congestion",
    inputs: [
        Healthy, Excluded, Load, QueuedTokens, ReportAgeMs, PrefixMatch, PromptTokens, ArrivalRate, Leg, Random, NowNs,
    ],
    concurrency: Serial,
    hooks: [on_first_token, on_complete, state],
}
