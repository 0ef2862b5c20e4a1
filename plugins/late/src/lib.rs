//! As `toll`, with requests held in the router until the worker that they would go to is about to be free.
//!
//! So the last moment decides where a request goes, and the order is by size and age instead of arrival: the
//! short pass the few long ones, and who waits long enough passes the short.
#![cfg_attr(target_arch = "wasm32", no_std)]

use prompt_clock::{Clocks, WorkModel, duration};
use sgl_policy_sdk::prelude::*;

/// The policy. What it has learnt is one truth for all requests: one instance.
#[derive(Debug)]
pub struct Late {
    kappa: f64,
    /// Seconds of work ahead at which a worker gets the next request.
    ahead: f64,
    /// Seconds of waiting that a second of own work weighs as much as.
    alpha: f64,
    max_wait: f64,
    clocks: Clocks,
}

impl Policy for Late {
    fn init(init: &Init) -> Result<Self, Error> {
        let [tokens_per_s, attention_tokens] = WorkModel::KEYS;
        let keys = ["kappa", "ahead_ms", "alpha", "max_wait_ms", tokens_per_s, attention_tokens];
        let config = Config::new(init, &keys)?;
        Ok(Self {
            kappa: config.number_in("kappa", 2.0, 0.0..=100.0)?,
            ahead: config.number_in("ahead_ms", 300.0, 0.0..=60_000.0)? * 1e-3,
            alpha: config.number_in("alpha", 1.0, 0.0..=1_000.0)?,
            max_wait: config.number_in("max_wait_ms", 60_000.0, 0.0..=3_600_000.0)? * 1e-3,
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
        let look = self.clocks.look(ctx, f64::from(narrow(ctx.held())));
        match self.clocks.least_toll(look, self.kappa, &mut rng) {
            Some(quote) if quote.wait <= self.ahead || ctx.may_wait_ms() == 0 => {
                self.clocks.place(quote, look.now)
            }
            Some(_) => {
                let least = self.clocks.quotes().iter().map(|quote| quote.work).fold(f64::MAX, f64::min);
                let arrived = look.now - f64::from(narrow(ctx.waited_ms())) * 1e-3;
                Choice::wait(arrived + self.alpha * least, duration(self.max_wait))
            }
            None => Choice::Nobody,
        }
    }
}

fn narrow(number: u64) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

prompt_clock::clock_hooks!(Late);

sgl_policy_sdk::export_policy! {
    policy: Late,
    name: "late",
    description: "as toll, with requests held in the router until a worker is about to be free",
    inputs: [
        Healthy, Excluded, Load, QueuedTokens, ReportAgeMs, PrefixMatch, PromptTokens, ArrivalRate, WaitedMs,
        MayWaitMs, Held, Leg, Random, NowNs,
    ],
    concurrency: Serial,
    hooks: [on_first_token, on_complete, state],
}
