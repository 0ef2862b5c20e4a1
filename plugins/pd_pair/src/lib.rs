//! Prefill and decode worker together, by lowest joint cost.
//!
//! A request costs, in estimated milliseconds: the wait for and the work of its
//! prefill, the slowdown and risk of its decode worker, and the transfer of its KV
//! cache if the two are in different zones. Only that last part ties the two
//! choices to each other: the best prefill worker and the best decode worker taken
//! apart may be the worst pair.
#![cfg_attr(target_arch = "wasm32", no_std)]

extern crate alloc;

mod cost;
mod draw;
mod fleet;

use alloc::string::String;

use sgl_policy_sdk::prelude::*;

use crate::cost::Costs;
use crate::draw::Lowest;
use crate::fleet::Fleet;

/// The policy.
#[derive(Debug)]
pub struct PdPair {
    costs: Costs,
    zone_label: String,
    fleet: Fleet,
}

impl Policy for PdPair {
    fn init(init: &Init) -> Result<Self, Error> {
        let config = Config::new(
            init,
            &[
                "prefill_tokens_per_s",
                "bytes_per_token",
                "decode_ms",
                "kv_full_ms",
                "transfer_ms",
                "zone_label",
            ],
        )?;
        Ok(Self {
            costs: Costs::new(config)?,
            zone_label: String::from(config.text("zone_label", "zone")?),
            fleet: Fleet::default(),
        })
    }

    fn on_workers(&mut self, table: &Table) {
        self.fleet = Fleet::new(table, &self.zone_label);
    }

    fn select(&mut self, ctx: &Context<'_>) -> Choice {
        let mut lowest = Lowest::new(ctx.rng());
        for index in ctx.candidates().iter() {
            let cost = match (ctx.leg(), self.fleet.role(index)) {
                (Leg::Single, Some(Role::Regular)) => {
                    self.costs.prefill(ctx, index) + self.costs.decode(ctx, index)
                }
                (Leg::Prefill, Some(Role::Prefill)) => self.costs.prefill(ctx, index),
                (Leg::Decode, Some(Role::Decode)) => self.costs.decode(ctx, index),
                _ => continue,
            };
            lowest.offer(cost, index);
        }
        lowest.chosen().into()
    }

    /// In one scan for each role: first the best decode worker of every zone, then
    /// for every prefill worker the better of its own zone and of all zones.
    fn select_pair(&mut self, ctx: &Context<'_>) -> PairChoice {
        let mut rng = ctx.rng();
        self.fleet.clear_bests();
        let mut anywhere = Lowest::new(rng.fork());
        for index in ctx.candidates().iter() {
            if self.fleet.role(index) == Some(Role::Decode) {
                let cost = self.costs.decode(ctx, index);
                anywhere.offer(cost, index);
                self.fleet.offer(cost, index, &mut rng);
            }
        }
        let mut pairs = Lowest::new(rng);
        for index in ctx.candidates().iter() {
            if self.fleet.role(index) == Some(Role::Prefill) {
                let near = self.fleet.best_near(index);
                let far = anywhere.lowest().map(|(cost, decode)| (cost + self.costs.transfer_ms, decode));
                let better = |(near, far): ((f64, usize), (f64, usize))| {
                    if far.0 < near.0 { far } else { near }
                };
                if let Some((cost, decode)) = near.zip(far).map(better).or(far) {
                    pairs.offer(self.costs.prefill(ctx, index) + cost, (index, decode));
                }
            }
        }
        pairs.chosen().into()
    }
}

sgl_policy_sdk::export_policy! {
    policy: PdPair,
    name: "pd_pair",
    description: "prefill and decode worker together, by lowest joint cost",
    inputs: [Healthy, Excluded, Load, Running, QueuedTokens, KvUsage, PromptBytes, Leg, Random],
    hooks: [select_pair],
}
