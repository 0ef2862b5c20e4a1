//! How many tokens a worker took, by model.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::RwLock;

use crate::proxy::token_usage::TokenUsage;

/// Models that are counted by themselves at a worker, so that adapters that come and go cannot make ever
/// more numbers. The others count together.
const MAX_MODELS: usize = 64;

/// What stands for models that are not counted by themselves, and for those that nobody names.
pub(crate) const OTHER_MODELS: &str = "other";

/// Kinds of tokens, as labels: those of prompts that were cached are among those of prompts.
pub(crate) const TOKEN_KINDS: [&str; 3] = ["prompt", "cached", "completion"];

/// Counts of tokens by [`TOKEN_KINDS`], for each model.
///
/// # Concurrency
///
/// Requests whose usage is read take the lock for reading at their end; for writing only the first one of a
/// model does.
#[derive(Debug, Default)]
pub struct TokenTally {
    models: RwLock<Vec<(Arc<str>, TokenCounts)>>,
}

type TokenCounts = [AtomicU64; TOKEN_KINDS.len()];

impl TokenTally {
    /// Adds what an answer told.
    pub(crate) fn add(&self, model: &Arc<str>, usage: TokenUsage) {
        let told = [usage.prompt_tokens, usage.cached_tokens, usage.completion_tokens];
        if told == [None; TOKEN_KINDS.len()] || self.add_known(model, told) {
            return;
        }
        let mut models = self.models.write();
        let name = if models.len() < MAX_MODELS { Arc::clone(model) } else { Arc::from(OTHER_MODELS) };
        // Another request may have come first.
        if models.iter().all(|(known, _)| *known != name) {
            models.push((Arc::clone(&name), TokenCounts::default()));
        }
        drop(models);
        self.add_known(&name, told);
    }

    fn add_known(&self, model: &Arc<str>, told: [Option<u32>; TOKEN_KINDS.len()]) -> bool {
        let models = self.models.read();
        let Some((_, counts)) = models.iter().find(|(known, _)| known == model) else { return false };
        for (count, tokens) in counts.iter().zip(told) {
            // Relaxed: a counter.
            count.fetch_add(u64::from(tokens.unwrap_or(0)), Ordering::Relaxed);
        }
        true
    }

    /// What was counted so far, by model.
    pub(crate) fn told(&self) -> Vec<(Arc<str>, [u64; TOKEN_KINDS.len()])> {
        // Relaxed: counters.
        let read = |counts: &TokenCounts| counts.each_ref().map(|count| count.load(Ordering::Relaxed));
        self.models.read().iter().map(|(model, counts)| (Arc::clone(model), read(counts))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_of_more_models_than_are_kept_count_together() {
        let tally = TokenTally::default();
        let usage = TokenUsage { prompt_tokens: Some(5), completion_tokens: Some(3), cached_tokens: Some(2) };
        for number in 0..MAX_MODELS + 10 {
            tally.add(&Arc::from(format!("m{number}")), usage);
        }
        tally.add(&Arc::from("m0"), usage);
        tally.add(&Arc::from("m1"), TokenUsage::default());
        let told = tally.told();
        assert_eq!(told.len(), MAX_MODELS + 1);
        assert_eq!(told[0], (Arc::from("m0"), [10, 4, 6]));
        assert_eq!(told[1], (Arc::from("m1"), [5, 2, 3]));
        assert_eq!(told[MAX_MODELS], (Arc::from(OTHER_MODELS), [50, 20, 30]));
    }
}
