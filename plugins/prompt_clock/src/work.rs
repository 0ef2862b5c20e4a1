//! How much work a prompt is.

use sgl_policy_sdk::{Config, Error};

/// The work of prompts, in seconds at a nominal rate. What matters is the ratio of prompts to each other: the
/// pace of workers is learnt.
#[derive(Clone, Copy, Debug)]
pub struct WorkModel {
    tokens_per_s: f64,
    /// Tokens of context at which attention takes as long as all else; 0 for attention that costs nothing.
    attention_tokens: f64,
}

impl WorkModel {
    /// The config keys that [`WorkModel::new`] reads.
    pub const KEYS: [&str; 2] = ["tokens_per_s", "attention_tokens"];

    /// Reads `tokens_per_s` (default 10,000) and `attention_tokens` (default 50,000).
    ///
    /// # Errors
    /// An [`Error`] that names the key whose value is out of its range.
    pub fn new(config: Config<'_>) -> Result<Self, Error> {
        Ok(Self {
            tokens_per_s: config.number_in("tokens_per_s", 10_000.0, 1.0..=1e9)?,
            attention_tokens: config.number_in("attention_tokens", 50_000.0, 0.0..=1e9)?,
        })
    }

    /// Seconds for so many tokens behind those that are held already.
    #[must_use]
    pub fn seconds(&self, held: f64, missing: f64) -> f64 {
        let alone = missing / self.tokens_per_s;
        if self.attention_tokens > 0.0 {
            // Each token looks at all before it; the middle one stands for all.
            alone + alone * (held + missing / 2.0) / self.attention_tokens
        } else {
            alone
        }
    }
}
