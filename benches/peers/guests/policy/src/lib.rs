//! `plugins/least_connections` once more, for guests of other hosts: the same SDK reads the same
//! message, so that hosts differ in nothing but themselves. A crate of its own because those guests
//! have the standard library.

use sgl_policy_sdk::Guest;
use sgl_policy_sdk::prelude::*;

/// The policy.
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

/// `{"abi": 1, "plugin": "peer", "generation": 1, "config": {}, "seed": 1}`
const INIT: &[u8] = b"\x85\xa3abi\x01\xa6plugin\xa4peer\xaageneration\x01\xa6config\x80\xa4seed\x01";

/// A policy that is ready to decide.
#[must_use]
pub fn ready() -> Guest<LeastConnections> {
    let mut guest = Guest::new();
    guest.init(INIT);
    guest
}
