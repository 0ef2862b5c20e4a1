//! The worker with the least prompt work to do, that of the request itself included.
//!
//! Like `least_uncached`, and besides: engines' own word for their queues, weights, and requests that are
//! being answered.
#![cfg_attr(target_arch = "wasm32", no_std)]

extern crate alloc;

use alloc::vec::Vec;

use sgl_policy_sdk::prelude::*;

/// The policy.
#[derive(Debug)]
pub struct LeastWork {
    request_tokens: f64,
    reports: bool,
    by_weight: bool,
    /// What each worker's work is multiplied by, in table order; infinite for weight 0.
    shares: Vec<f64>,
}

impl Policy for LeastWork {
    fn init(init: &Init) -> Result<Self, Error> {
        let config = Config::new(init, &["request_tokens", "reports", "by_weight"])?;
        Ok(Self {
            request_tokens: config.number_in("request_tokens", 16.0, 0.0..=1e6)?,
            reports: config.flag("reports", true)?,
            by_weight: config.flag("by_weight", true)?,
            shares: Vec::new(),
        })
    }

    fn on_workers(&mut self, table: &Table) {
        let by_weight = self.by_weight;
        self.shares = table.iter().map(|worker| if by_weight { 1.0 / worker.weight } else { 1.0 }).collect();
    }

    fn select(&mut self, ctx: &Context<'_, Self>) -> Choice {
        let work = |worker: usize| {
            let sent = ctx.uncached_tokens().known(worker).unwrap_or(0);
            // The router's books are never late, and the report sees other routers: the larger counts.
            let said = ctx.queued_tokens().known(worker).filter(|_| self.reports).unwrap_or(0);
            let answering = f64::from(ctx.load().get(worker)) * self.request_tokens;
            let work = f64::from(sent.max(said)) + ctx.missing_tokens(worker) + answering;
            // Never 0, so that weights count on an idle fleet too.
            (work + 1.0) * self.shares.get(worker).copied().unwrap_or(1.0)
        };
        ctx.candidates().least_by(&mut ctx.rng(), work).into()
    }
}

sgl_policy_sdk::export_policy! {
    policy: LeastWork,
    name: "least_work",
    description: "the worker with the least prompt work to do, the request's own included",
    inputs: [Healthy, Excluded, Load, QueuedTokens, UncachedTokens, PrefixMatch, PromptTokens, Random],
}
