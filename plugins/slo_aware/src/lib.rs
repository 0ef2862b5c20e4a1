//! The cheapest worker that still meets the time to first token that was promised; where none does, the
//! soonest.
//!
//! Cheap is little work: while the promise holds, a request stays with its cache, and the fleet has less to
//! do. How fast each worker is, is learnt from first tokens.
#![cfg_attr(target_arch = "wasm32", no_std)]

use prompt_clock::{Clocks, Quote, WorkModel, duration};
use sgl_policy_sdk::prelude::*;

/// The policy. What it has learnt is one truth for all requests: one instance.
#[derive(Debug)]
pub struct SloAware {
    /// The promise, in seconds: for each prompt, and for each of its tokens.
    ttft: f64,
    ttft_per_token: f64,
    /// Part of the promise that may be used, since predictions are none.
    headroom: f64,
    /// Multiple of the promise from which requests are refused; 0 for never.
    shed_above: f64,
    clocks: Clocks,
}

impl Policy for SloAware {
    fn init(init: &Init) -> Result<Self, Error> {
        let [tokens_per_s, attention_tokens] = WorkModel::KEYS;
        let keys = ["ttft_ms", "ttft_ms_per_token", "headroom", "shed_above", tokens_per_s, attention_tokens];
        let config = Config::new(init, &keys)?;
        Ok(Self {
            ttft: config.number_in("ttft_ms", 2_000.0, 1.0..=1e7)? * 1e-3,
            ttft_per_token: config.number_in("ttft_ms_per_token", 0.25, 0.0..=1e4)? * 1e-3,
            headroom: config.number_in("headroom", 0.8, 0.01..=1.0)?,
            shed_above: config.number_in("shed_above", 0.0, 0.0..=1e4)?,
            clocks: Clocks::new(WorkModel::new(config)?, init.seed),
        })
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
        #[expect(clippy::cast_precision_loss, reason = "a number of tokens")]
        let promised = self.ttft + self.ttft_per_token * ctx.prompt_tokens() as f64;
        let in_time = self.headroom * promised;
        let soonest = self.clocks.least(&mut rng, Quote::first_token);
        match soonest {
            None => Choice::Nobody,
            Some(soonest) if soonest.first_token() <= in_time => {
                /// What a second of waiting costs, of workers that are all in time: where the work is nearly
                /// the same the shorter queue is better.
                const WAIT: f64 = 0.05;
                let cost = |quote: &Quote| {
                    let late = quote.first_token() > in_time;
                    if late { f64::INFINITY } else { quote.work / quote.pace + WAIT * quote.first_token() }
                };
                let quote = self.clocks.least(&mut rng, cost).unwrap_or(soonest);
                self.clocks.place(quote, look.now)
            }
            Some(soonest) if self.shed_above > 0.0 && soonest.first_token() > self.shed_above * promised => {
                Choice::shed(duration(soonest.first_token() - promised))
            }
            Some(soonest) => self.clocks.place(soonest, look.now),
        }
    }
}

prompt_clock::clock_hooks!(SloAware);

sgl_policy_sdk::export_policy! {
    policy: SloAware,
    name: "slo_aware",
    description: "the cheapest worker that meets the time to first token that was promised",
    inputs: [
        Healthy, Excluded, Load, QueuedTokens, ReportAgeMs, PrefixMatch, PromptTokens, ArrivalRate, Leg, Random, NowNs,
    ],
    concurrency: Serial,
    hooks: [on_first_token, on_complete, state],
}
