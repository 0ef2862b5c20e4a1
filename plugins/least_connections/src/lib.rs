//! The healthy worker with the fewest requests in flight; equal ones share by chance.
//!
//! Ties matter: an idle fleet is all ties, and a policy that takes the first of
//! them sends every burst to one worker.
#![cfg_attr(target_arch = "wasm32", no_std)]

use sgl_policy_sdk::prelude::*;

/// The policy. It has no state: what it needs comes with each decision.
#[derive(Debug)]
pub struct LeastConnections;

impl Policy for LeastConnections {
    fn init(init: &Init) -> Result<Self, Error> {
        Config::new(init, &[])?;
        Ok(Self)
    }

    fn select(&mut self, ctx: &Context<'_, Self>) -> Choice {
        ctx.candidates().least(ctx.load(), &mut ctx.rng()).into()
    }
}

sgl_policy_sdk::export_policy! {
    policy: LeastConnections,
    name: "least_connections",
    description: "the healthy worker with the fewest requests in flight, ties by chance",
    inputs: [Healthy, Excluded, Load, Random],
    hooks: [without_table],
}
