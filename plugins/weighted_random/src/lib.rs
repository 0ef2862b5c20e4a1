//! Workers in proportion to their weights.
//!
//! A worker's weight is, in this order: the operator's `weights` for its URL, its
//! label, its weight in the worker table. Weight 0 takes no traffic.
//!
//! A draw is a binary search in the running totals of all weights. A worker that
//! may not be chosen just now is drawn again; that keeps the proportions of the
//! others, and a fleet in good health needs one draw.
#![cfg_attr(target_arch = "wasm32", no_std)]

extern crate alloc;

mod weight;

use alloc::string::String;
use alloc::vec::Vec;

use sgl_policy_sdk::prelude::*;
use sgl_policy_sdk::{Candidates, TableWorker, host};

use crate::weight::{is_weight, parse_weight};

/// Draws before the exact scan; with half of the weight out of reach, one decision
/// in 256 scans.
const DRAWS: usize = 8;

/// The policy.
#[derive(Debug)]
pub struct WeightedRandom {
    /// Weights by URL.
    configured: Vec<(String, f64)>,
    /// The label that holds a weight.
    label: String,
    /// Sum of the weights of all workers up to and including each.
    totals: Vec<f64>,
}

impl Policy for WeightedRandom {
    fn init(init: &Init) -> Result<Self, Error> {
        let config = Config::new(init, &["weights", "label"])?;
        let configured = match config.get("weights") {
            Some(weights) => configured(weights)?,
            None => Vec::new(),
        };
        let label = String::from(config.text("label", "weight")?);
        Ok(Self { configured, label, totals: Vec::new() })
    }

    fn on_workers(&mut self, table: &Table) {
        let mut total = 0.0;
        self.totals = Vec::with_capacity(table.len());
        for worker in table.iter() {
            total += self.weight_of(&worker);
            self.totals.push(total);
        }
    }

    fn select(&mut self, ctx: &Context<'_, Self>) -> Choice {
        let candidates = ctx.candidates();
        let mut rng = ctx.rng();
        let total = self.totals.last().copied().unwrap_or(0.0);
        for _ in 0..DRAWS {
            let drawn = rng.unit() * total;
            // The first whose running total is above: never one of weight 0.
            let worker = self.totals.partition_point(|upto| *upto <= drawn);
            if candidates.contains(worker) {
                return worker.into();
            }
        }
        self.scan(candidates, &mut rng).into()
    }
}

impl WeightedRandom {
    fn weight_of(&self, worker: &TableWorker<'_>) -> f64 {
        if let Some((_, weight)) = self.configured.iter().find(|(url, _)| url == worker.url) {
            return *weight;
        }
        if let Some(text) = worker.labels.get(&self.label) {
            match parse_weight(text) {
                Some(weight) => return weight,
                None => host::log(Level::Warn, "a weight label is no number; the table's weight counts"),
            }
        }
        Some(worker.weight).filter(|weight| is_weight(*weight)).unwrap_or(0.0)
    }

    /// One draw among the candidates alone.
    fn scan(&self, candidates: Candidates<'_>, rng: &mut Rng) -> Option<usize> {
        let weight = |index: usize| {
            let upto = |index: usize| self.totals.get(index).copied().unwrap_or(0.0);
            upto(index) - index.checked_sub(1).map_or(0.0, upto)
        };
        let total: f64 = candidates.iter().map(weight).sum();
        let mut left = rng.unit() * total;
        let mut chosen = None;
        for index in candidates.iter().filter(|index| weight(*index) > 0.0) {
            // Rounding may leave a rest after the last: it is the last one's.
            chosen = Some(index);
            left -= weight(index);
            if left < 0.0 {
                break;
            }
        }
        chosen
    }
}

/// The config key `weights`.
fn configured(weights: &Value) -> Result<Vec<(String, f64)>, Error> {
    let entries = weights.as_map().ok_or("config key `weights` must be a map from worker url to number")?;
    let weight = |value: &Value| value.as_f64().filter(|weight| is_weight(*weight));
    let checked = entries.iter().map(|(url, value)| Some((url.clone(), weight(value)?)));
    let checked: Option<Vec<_>> = checked.collect();
    checked.ok_or_else(|| "config key `weights` has a value that is no number from 0 to 1e9".into())
}

sgl_policy_sdk::export_policy! {
    policy: WeightedRandom,
    name: "weighted_random",
    description: "workers in proportion to their weights, from config, labels or the worker table",
    inputs: [Healthy, Excluded, Random],
}
