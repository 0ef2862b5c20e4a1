//! Filters, a weighted sum of scores, and a pick: the form of llm-d's scheduler, configured.
#![cfg_attr(target_arch = "wasm32", no_std)]

extern crate alloc;

mod scorer;

use alloc::string::String;
use alloc::vec::Vec;

use sgl_policy_sdk::Lowest;
use sgl_policy_sdk::prelude::*;

use crate::scorer::{Scale, Scorer};

/// The policy. It has no state: what it needs comes with each decision.
#[derive(Debug)]
pub struct WeightedScorers {
    weights: Vec<(Scorer, f64)>,
    filters: Filters,
    by_chance: bool,
    /// Scales of one decision.
    scales: Vec<(Scale, f64)>,
}

/// The highest that a worker may have. What is not known passes.
#[derive(Debug)]
struct Filters {
    load: f64,
    waiting: f64,
    kv_usage: f64,
}

/// llm-d's default, which counts the prefix most.
const DEFAULT: [(Scorer, f64); 3] = [(Scorer::Queue, 2.0), (Scorer::Kv, 2.0), (Scorer::Prefix, 3.0)];

const KEYS: [&str; 5] = ["scorers", "max_load", "max_waiting", "max_kv_usage", "pick"];

impl Policy for WeightedScorers {
    fn init(init: &Init) -> Result<Self, Error> {
        let config = Config::new(init, &KEYS)?;
        let weights = config.get("scorers").map_or_else(|| Ok(DEFAULT.into()), weights)?;
        Ok(Self {
            scales: Vec::with_capacity(weights.len()),
            weights,
            filters: Filters {
                load: config.number_in("max_load", 1e9, 0.0..=1e9)?,
                waiting: config.number_in("max_waiting", 1e9, 0.0..=1e9)?,
                kv_usage: config.number_in("max_kv_usage", 1.0, 0.0..=1.0)?,
            },
            by_chance: config.one_of("pick", &["best", "weighted"])? == 1,
        })
    }

    fn select(&mut self, ctx: &Context<'_, Self>) -> Choice {
        let Self { weights, filters, by_chance, scales } = self;
        scales.clear();
        scales.extend(weights.iter().map(|(scorer, weight)| (scorer.scale(ctx), *weight)));
        let score = |worker: usize| {
            scales.iter().map(|(scale, weight)| weight * scale.score(ctx, worker)).sum::<f64>()
        };
        let mut rng = ctx.rng();
        let pick = if *by_chance { weighted } else { best };
        let passed = ctx.candidates().iter().filter(|worker| filters.pass(ctx, *worker));
        // Where nobody passes the filters, all do.
        pick(&mut passed.map(|worker| (worker, score(worker))), &mut rng)
            .or_else(|| pick(&mut ctx.candidates().iter().map(|worker| (worker, score(worker))), &mut rng))
            .into()
    }
}

type Scored<'a> = dyn Iterator<Item = (usize, f64)> + 'a;

fn best(scored: &mut Scored<'_>, rng: &mut Rng) -> Option<usize> {
    scored
        .fold(Lowest::NONE, |mut least, (worker, score)| {
            least.offer(-score, worker, rng);
            least
        })
        .kept()
}

/// By chance, in proportion to scores: each replaces the one before with its share of the sum so far.
fn weighted(scored: &mut Scored<'_>, rng: &mut Rng) -> Option<usize> {
    /// So that workers that all have 0 share evenly.
    const LEAST: f64 = 1e-9;
    let mut sum = 0.0;
    scored.fold(None, |chosen, (worker, score)| {
        let score = f64::max(score, LEAST);
        sum += score;
        if chosen.is_none() || rng.unit() * sum < score { Some(worker) } else { chosen }
    })
}

impl Filters {
    fn pass(&self, ctx: &Context<'_, WeightedScorers>, worker: usize) -> bool {
        f64::from(ctx.load().get(worker)) <= self.load
            && ctx.waiting().known(worker).is_none_or(|waiting| f64::from(waiting) <= self.waiting)
            && ctx.kv_usage().known(worker).is_none_or(|used| f64::from(used) <= self.kv_usage)
    }
}

/// The config key `scorers`.
fn weights(value: &Value) -> Result<Vec<(Scorer, f64)>, Error> {
    let entries =
        value.as_map().ok_or("config key `scorers` must be a map from a scorer's name to its weight")?;
    let weight = |(name, weight): &(String, Value)| {
        let scorer = Scorer::by_name(name)?;
        weight.as_f64().filter(|weight| (0.0..=1e6).contains(weight)).map(|weight| (scorer, weight))
    };
    entries.iter().map(|entry| weight(entry).ok_or_else(|| unknown(&entry.0))).collect()
}

fn unknown(name: &str) -> Error {
    let mut text = String::from("config key `scorers` has `");
    text.push_str(name);
    text.push_str("`; expected weights from 0 to 1000000 of");
    for (index, (name, _)) in Scorer::NAMED.iter().enumerate() {
        text.push_str(if index == 0 { " `" } else { ", `" });
        text.push_str(name);
        text.push('`');
    }
    text.into()
}

sgl_policy_sdk::export_policy! {
    policy: WeightedScorers,
    name: "weighted_scorers",
    description: "filters, a weighted sum of scores, and a pick",
    inputs: [
        Healthy, Excluded, Load, Waiting, KvUsage, UncachedTokens, TokensInFlight, TtftEwma, PrefixMatch, PromptTokens,
        Random,
    ],
    hooks: [without_table],
}
