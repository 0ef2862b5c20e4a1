//! Prefill and decode worker together, by lowest joint cost.
//!
//! A request costs, in estimated milliseconds: the wait for and the work of its
//! prefill (of what the prefill worker does not hold), the slowdown and risk of its decode worker, and the transfer of its KV
//! cache if the two are in different zones. Only that last part ties the two
//! choices to each other: the best prefill worker and the best decode worker taken
//! apart may be the worst pair.
#![cfg_attr(target_arch = "wasm32", no_std)]

extern crate alloc;

mod cost;
mod fleet;

use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;

use sgl_policy_sdk::Lowest;
use sgl_policy_sdk::prelude::*;

use crate::cost::Costs;
use crate::fleet::Fleet;

/// The policy.
#[derive(Debug)]
pub struct PdPair {
    costs: Costs,
    zone_label: String,
    fleet: Fleet,
    /// The cheapest decode worker of each zone, during one decision.
    near: Vec<Lowest<usize>>,
}

/// The config keys.
const KEYS: [&str; 6] =
    ["prefill_tokens_per_s", "bytes_per_token", "decode_ms", "kv_full_ms", "transfer_ms", "zone_label"];

impl Policy for PdPair {
    fn init(init: &Init) -> Result<Self, Error> {
        let config = Config::new(init, &KEYS)?;
        Ok(Self {
            costs: Costs::new(config)?,
            zone_label: String::from(config.text("zone_label", "zone")?),
            fleet: Fleet::default(),
            near: Vec::new(),
        })
    }

    fn on_workers(&mut self, table: &Table) {
        self.fleet = Fleet::new(table, &self.zone_label);
        self.near = vec![Lowest::NONE; self.fleet.zones];
    }

    /// One leg alone: the cheapest worker of its role.
    fn select(&mut self, ctx: &Context<'_, Self>) -> Choice {
        let (costs, candidates, mut rng) = (self.costs.of(ctx), ctx.candidates(), ctx.rng());
        let members = match ctx.leg() {
            Leg::Single => &self.fleet.regular,
            Leg::Prefill => &self.fleet.prefill,
            Leg::Decode => &self.fleet.decode,
        };
        let mut lowest = Lowest::NONE;
        for member in members.iter().filter(|member| candidates.contains(member.index)) {
            let cost = match ctx.leg() {
                Leg::Single => costs.prefill(member.index) + costs.decode(member.index),
                Leg::Prefill => costs.prefill(member.index),
                Leg::Decode => costs.decode(member.index),
            };
            lowest.offer(cost, member.index, &mut rng);
        }
        lowest.kept().into()
    }
}

impl PairHook for PdPair {
    /// One scan for each role, not one for every pair: first the best decode worker of
    /// every zone, then for every prefill worker the better of its own zone and of all.
    fn select_pair(&mut self, ctx: &Context<'_, Self>) -> PairChoice {
        let Self { costs, fleet, near, .. } = self;
        let transfer_ms = costs.transfer_ms;
        let (costs, candidates, mut rng) = (costs.of(ctx), ctx.candidates(), ctx.rng());
        near.fill(Lowest::NONE);
        let mut anywhere = Lowest::NONE;
        for member in fleet.decode.iter().filter(|member| candidates.contains(member.index)) {
            let cost = costs.decode(member.index);
            anywhere.offer(cost, member.index, &mut rng);
            if let Some(near) = near.get_mut(member.zone) {
                near.offer(cost, member.index, &mut rng);
            }
        }
        let mut pairs = Lowest::NONE;
        for member in fleet.prefill.iter().filter(|member| candidates.contains(member.index)) {
            let near = near.get(member.zone).unwrap_or(&Lowest::NONE);
            let far_cost = anywhere.cost() + transfer_ms;
            let (decode_cost, decode) = if near.cost() <= far_cost {
                (near.cost(), near.kept())
            } else {
                (far_cost, anywhere.kept())
            };
            if let Some(decode) = decode {
                pairs.offer(costs.prefill(member.index) + decode_cost, (member.index, decode), &mut rng);
            }
        }
        pairs.kept().into()
    }
}

sgl_policy_sdk::export_policy! {
    policy: PdPair,
    name: "pd_pair",
    description: "prefill and decode worker together, by lowest joint cost",
    inputs: [
        Healthy, Excluded, Load, Running, QueuedTokens, UncachedTokens, KvUsage, PrefixMatch, PromptBytes, PromptTokens,
        PromptTokensExact, Leg, Random,
    ],
    hooks: [select_pair],
}
