//! Short and long requests in pools of their own, by the tokens of the prompt and of the longest answer.
//!
//! A few long prompts hold up many short ones; apart from each other both need fewer workers.
#![cfg_attr(target_arch = "wasm32", no_std)]

extern crate alloc;

use alloc::string::String;
use alloc::vec::Vec;

use sgl_policy_sdk::Lowest;
use sgl_policy_sdk::prelude::*;

/// The policy.
#[derive(Debug)]
pub struct TokenPools {
    label: String,
    short: String,
    long: String,
    long_from_tokens: u64,
    answer_tokens: u64,
    spill: f64,
    /// In table order.
    pools: Vec<Pool>,
}

/// Which requests a worker is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pool {
    Short,
    Long,
    /// Without the label: both.
    Both,
    /// With another word as its label.
    Neither,
}

const KEYS: [&str; 6] = ["label", "short", "long", "long_from_tokens", "answer_tokens", "spill"];

impl Policy for TokenPools {
    fn init(init: &Init) -> Result<Self, Error> {
        let config = Config::new(init, &KEYS)?;
        let tokens = |key, default| {
            config.size_in(key, default, 0..=1 << 30).map(|tokens| u64::try_from(tokens).unwrap_or(u64::MAX))
        };
        Ok(Self {
            label: config.text("label", "pool")?.into(),
            short: config.text("short", "short")?.into(),
            long: config.text("long", "long")?.into(),
            long_from_tokens: tokens("long_from_tokens", 8_192)?,
            answer_tokens: tokens("answer_tokens", 1_024)?,
            spill: config.number_in("spill", 4.0, 0.0..=1e6)?,
            pools: Vec::new(),
        })
    }

    fn on_workers(&mut self, table: &Table) {
        let pool = |label: Option<&str>| match label {
            None => Pool::Both,
            Some(label) if label == self.short => Pool::Short,
            Some(label) if label == self.long => Pool::Long,
            Some(_) => Pool::Neither,
        };
        self.pools = table.iter().map(|worker| pool(worker.labels.get(&self.label))).collect();
    }

    fn select(&mut self, ctx: &Context<'_, Self>) -> Choice {
        let answer = ctx.max_tokens().unwrap_or(self.answer_tokens);
        let tokens = ctx.prompt_tokens().saturating_add(answer);
        let mut rng = ctx.rng();
        let mut least = |pools: &[Pool]| self.least(ctx, pools, &mut rng);
        let (short, long) = (least(&[Pool::Short, Pool::Both]), least(&[Pool::Long, Pool::Both]));
        let (own, other) = if tokens < self.long_from_tokens { (short, long) } else { (long, short) };
        // Short ones do no harm among long ones, the other way round they do.
        let may_spill = tokens < self.long_from_tokens && self.spill > 0.0;
        #[expect(clippy::cast_precision_loss, reason = "a number of tokens")]
        let is_full = may_spill && own.cost() > self.spill * (other.cost() + tokens as f64);
        let chosen = if is_full { other.kept() } else { own.kept().or(other.kept()) };
        chosen.or_else(|| least(&[Pool::Neither]).kept()).into()
    }
}

impl TokenPools {
    /// The worker of these pools with the fewest tokens in flight, of equal ones the least loaded.
    fn least(&self, ctx: &Context<'_, Self>, pools: &[Pool], rng: &mut Rng) -> Lowest<usize> {
        let is_in = |worker: &usize| self.pools.get(*worker).is_some_and(|pool| pools.contains(pool));
        ctx.candidates().iter().filter(is_in).fold(Lowest::NONE, |mut least, worker| {
            let tokens = f64::from(ctx.tokens_in_flight().known(worker).unwrap_or(0));
            least.offer(tokens + f64::from(ctx.load().get(worker)) * 1e-6, worker, rng);
            least
        })
    }
}

sgl_policy_sdk::export_policy! {
    policy: TokenPools,
    name: "token_pools",
    description: "short and long requests in pools of their own",
    inputs: [Healthy, Excluded, Load, TokensInFlight, PromptTokens, MaxTokens, Random],
}
