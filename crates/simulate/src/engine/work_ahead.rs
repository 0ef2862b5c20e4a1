//! An estimate of the time to the first token, without a simulation.

use crate::engine::engine_model::EngineModel;
use crate::engine::step_time::{DecodeLoad, StepTime};

/// What an engine has to do when a request comes, as far as somebody else can know.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WorkAhead {
    /// Prompt tokens that are to be processed first.
    pub prompt_tokens: u32,
    /// Sequences that decode meanwhile.
    pub sequences: u32,
    /// Tokens of their context, all together.
    pub context: u64,
}

impl EngineModel {
    /// Seconds until the first token of a request with a prompt of which so many tokens are cached: what is
    /// ahead is processed, then its own prompt, in full chunks, and in each step what decodes gets a token.
    /// Nobody else comes, and nobody ends.
    pub fn first_token(&self, ahead: WorkAhead, prompt_tokens: u32, cached: u32) -> f64 {
        let times = StepTime::new(self, 1.0);
        // The last token of a prompt is processed always.
        let own = prompt_tokens.saturating_sub(cached).max(1);
        let before = prompt_tokens.saturating_sub(own);
        let all = ahead.prompt_tokens.saturating_add(own);
        let load = DecodeLoad { sequences: ahead.sequences, context: ahead.context };
        let count = all.div_ceil(self.chunk_tokens);
        let steps = times.decode(load, u64::from(count)) + f64::from(count) * times.prompt_part();
        // Nobody knows into how many prompts the tokens ahead divide: without their attention.
        let others = f64::from(ahead.prompt_tokens) / self.prompt_tokens_per_second;
        times.way(prompt_tokens) + steps + others + times.prompt(before, own)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn idle_engine_needs_what_a_request_needs_alone() {
        let model = EngineModel::default();
        let estimate = model.first_token(WorkAhead::default(), 5000, 0);
        assert!((estimate - model.alone(5000, 1)).abs() < 1e-9, "{estimate}");
    }

    #[test]
    fn work_ahead_takes_longer_and_cached_tokens_take_nothing() {
        let model = EngineModel { attention_tokens: 0.0, ..EngineModel::default() };
        let ahead = WorkAhead { prompt_tokens: 2048, sequences: 10, context: 10_000 };
        // Two chunks of 2048 tokens, a step for each, in which ten sequences decode.
        let contexts = 10_000.0 + 10_010.0;
        let expected = 2.0 * (0.012 + 10.0 * 0.000_05) + contexts * 29e-9 + 4096.0 / 10_000.0;
        let estimate = model.first_token(ahead, 4096, 2048);
        assert!((estimate - expected).abs() < 1e-9, "{estimate}, not {expected}");
    }
}
