//! Urgent requests first: each level may fill a smaller part of the workers than the one above it, the others
//! wait in the router, and the least urgent are refused when they have waited long enough.
#![cfg_attr(target_arch = "wasm32", no_std)]

use core::time::Duration;

use sgl_policy_sdk::prelude::*;

/// The policy. It has no state: what it needs comes with each decision.
#[derive(Debug)]
pub struct Priority {
    slots: f64,
    reserve: f64,
    /// Seconds that a level's requests count as having come later than those of the level above.
    patience: f64,
    max_wait: Duration,
    retry_after: Duration,
    default_level: f64,
    shed_from: f64,
}

const KEYS: [&str; 8] = [
    "header",
    "slots",
    "reserve",
    "patience_ms",
    "max_wait_ms",
    "retry_after_ms",
    "default_level",
    "shed_from_level",
];

/// The lowest level.
const LOWEST: f64 = 9.0;

impl Policy for Priority {
    fn init(init: &Init) -> Result<Self, Error> {
        let config = Config::new(init, &KEYS)?;
        // The header is read by the host; it is named here so that it is a known key.
        config.text("header", "")?;
        let milliseconds = |key, default| {
            config
                .size_in(key, default, 0..=3_600_000)
                .map(|millis| Duration::from_millis(u64::try_from(millis).unwrap_or(u64::MAX)))
        };
        Ok(Self {
            slots: config.number_in("slots", 32.0, 1.0..=1e6)?,
            reserve: config.number_in("reserve", 0.25, 0.0..=1.0)?,
            patience: milliseconds("patience_ms", 10_000)?.as_secs_f64(),
            max_wait: milliseconds("max_wait_ms", 30_000)?,
            retry_after: milliseconds("retry_after_ms", 1_000)?,
            default_level: config.number_in("default_level", 1.0, 0.0..=LOWEST)?,
            shed_from: config.number_in("shed_from_level", 2.0, 0.0..=LOWEST + 1.0)?,
        })
    }

    fn select(&mut self, ctx: &Context<'_, Self>) -> Choice {
        let level = self.level(ctx);
        let Some(least) = ctx.candidates().least(ctx.load(), &mut ctx.rng()) else { return Choice::Nobody };
        // At least one, so that no level starves on an idle fleet.
        let may_fill = f64::max(self.slots * (1.0 - self.reserve * level), 1.0);
        if f64::from(ctx.load().get(least)) < may_fill {
            return least.into();
        }
        if ctx.may_wait_ms() > 0 {
            #[expect(clippy::cast_precision_loss, reason = "times of this process")]
            let arrived = ctx.now_ns() as f64 * 1e-9 - ctx.waited_ms() as f64 * 1e-3;
            return Choice::wait(arrived + level * self.patience, self.max_wait);
        }
        if level >= self.shed_from { Choice::shed(self.retry_after) } else { least.into() }
    }
}

impl Priority {
    /// The level that the header or the body says; 0 is the most urgent.
    fn level(&self, ctx: &Context<'_, Self>) -> f64 {
        let said = ctx.config_header("header").or_else(|| ctx.field("/priority"));
        said.and_then(|word| level_of(word.trim())).unwrap_or(self.default_level)
    }
}

/// A word or a whole number; those beyond the levels are the next one.
fn level_of(word: &str) -> Option<f64> {
    match word {
        "urgent" | "high" => Some(0.0),
        "normal" => Some(1.0),
        "low" | "batch" => Some(2.0),
        _ => word.parse::<i32>().ok().map(|level| f64::from(level).clamp(0.0, LOWEST)),
    }
}

sgl_policy_sdk::export_policy! {
    policy: Priority,
    name: "priority",
    description: "urgent requests first: others wait, and the least urgent are refused",
    inputs: [
        Healthy, Excluded, Load, ConfigHeader("header"), Field("/priority"), WaitedMs, MayWaitMs, Random, NowNs,
    ],
    hooks: [without_table],
}
