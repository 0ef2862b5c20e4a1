//! How long steps take: pure arithmetic.

use crate::engine::engine_model::EngineModel;

/// The times of one engine, in seconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct StepTime {
    step: f64,
    sequence: f64,
    context_token: f64,
    prompt_token: f64,
    /// Of a prompt token for each token before it.
    attention: f64,
    /// Of a prompt of which a part is in a step.
    prompt_part: f64,
    request: f64,
    request_token: f64,
}

/// What decodes in a step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct DecodeLoad {
    /// Sequences.
    pub(crate) sequences: u32,
    /// Tokens of their context, all together.
    pub(crate) context: u64,
}

impl EngineModel {
    /// Seconds from a prompt, of which nothing is cached, to the last token of its answer, if nobody else is
    /// there.
    pub fn alone(&self, prompt_tokens: u32, output_tokens: u32) -> f64 {
        let times = StepTime::new(self, 1.0);
        let step = times.decode(DecodeLoad::default(), 1) + times.prompt_part();
        let steps = f64::from(prompt_tokens.div_ceil(self.chunk_tokens)) * step;
        let load = DecodeLoad { sequences: 1, context: u64::from(prompt_tokens) + 1 };
        times.way(prompt_tokens)
            + steps
            + times.prompt(0, prompt_tokens)
            + times.decode(load, u64::from(output_tokens.saturating_sub(1)))
    }
}

impl StepTime {
    /// The times of this model at this speed: 0.5 takes twice as long.
    pub(crate) fn new(model: &EngineModel, speed: f64) -> Self {
        let prompt_token = 1.0 / model.prompt_tokens_per_second;
        let attention =
            if model.attention_tokens > 0.0 { prompt_token / model.attention_tokens } else { 0.0 };
        Self {
            step: model.step_ms / 1e3 / speed,
            sequence: model.sequence_ms / 1e3 / speed,
            context_token: model.context_token_ns / 1e9 / speed,
            prompt_token: prompt_token / speed,
            attention: attention / speed,
            prompt_part: model.prompt_ms / 1e3 / speed,
            request: model.request_ms / 1e3 / speed,
            request_token: model.request_token_ns / 1e9 / speed,
        }
    }

    /// How long a request with so many prompt tokens is on its way.
    pub(crate) fn way(&self, prompt_tokens: u32) -> f64 {
        self.request + f64::from(prompt_tokens) * self.request_token
    }

    /// What a step takes more for each prompt of which a part is in it.
    pub(crate) fn prompt_part(&self) -> f64 {
        self.prompt_part
    }

    /// What `tokens` of a prompt take that come after `before` others.
    pub(crate) fn prompt(&self, before: u32, tokens: u32) -> f64 {
        let (before, tokens) = (f64::from(before), f64::from(tokens));
        tokens * self.prompt_token + tokens * (before + tokens / 2.0) * self.attention
    }

    /// What so many steps take in which only this load decodes: each adds a token to each sequence, so that
    /// the next takes longer.
    pub(crate) fn decode(&self, load: DecodeLoad, steps: u64) -> f64 {
        let (steps, sequences) = (as_f64(steps), f64::from(load.sequences));
        let contexts = steps * as_f64(load.context) + sequences * steps * (steps - 1.0) / 2.0;
        steps * (self.step + sequences * self.sequence) + self.context_token * contexts
    }

    /// In which of these steps, counted from 1, so much time has passed: the number of steps after whose end
    /// it has.
    pub(crate) fn steps_within(&self, load: DecodeLoad, time: f64) -> u64 {
        let sequences = f64::from(load.sequences);
        let square = self.context_token * sequences / 2.0;
        let linear =
            self.step + sequences * self.sequence + self.context_token * as_f64(load.context) - square;
        // The root of square · n² + linear · n = time, in the form that has no difference of near numbers.
        let root = 2.0 * time / (linear + (linear * linear + 4.0 * square * time).max(0.0).sqrt());
        let mut steps = whole(root.ceil()).max(1);
        // The root is off by some last digits.
        while self.decode(load, steps) < time {
            steps += 1;
        }
        while steps > 1 && self.decode(load, steps - 1) >= time {
            steps -= 1;
        }
        steps
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts are far below 2^53")]
fn as_f64(count: u64) -> f64 {
    count as f64
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a cast to an integer saturates")]
fn whole(number: f64) -> u64 {
    number as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOAD: DecodeLoad = DecodeLoad { sequences: 3, context: 1000 };

    fn times() -> StepTime {
        StepTime::new(&EngineModel::default(), 1.0)
    }

    fn is_near(one: f64, other: f64) -> bool {
        (one - other).abs() < 1e-9 * one.abs().max(1.0)
    }

    #[test]
    fn prompt_in_chunks_takes_as_long_as_in_one_piece() {
        let times = times();
        let chunks = times.prompt(0, 2048) + times.prompt(2048, 2048) + times.prompt(4096, 904);
        assert!(is_near(chunks, times.prompt(0, 5000)));
        // Attention takes as long as all else at 53,000 tokens before: on average at twice that length.
        assert!(is_near(times.prompt(0, 106_000), 2.0 * 10.6));
    }

    #[test]
    fn many_steps_take_as_long_as_one_after_the_other() {
        let times = times();
        let one_by_one: f64 = (0..50)
            .map(|step| {
                let context = LOAD.context + 3 * step;
                times.decode(DecodeLoad { context, ..LOAD }, 1)
            })
            .sum();
        assert!(is_near(times.decode(LOAD, 50), one_by_one));
        assert!(is_near(times.decode(LOAD, 1), 0.012 + 0.000_15 + 1000.0 * 29e-9));
    }

    #[test]
    fn step_of_a_moment_is_the_first_that_ends_then_or_later() {
        let times = times();
        for steps in [1, 2, 3, 50, 4000, 1_000_000] {
            let end = times.decode(LOAD, steps);
            assert_eq!(times.steps_within(LOAD, end), steps);
            assert_eq!(times.steps_within(LOAD, end - 1e-6), steps);
            assert_eq!(times.steps_within(LOAD, end + 1e-6), steps + 1);
        }
        assert_eq!(times.steps_within(LOAD, 0.0), 1);
    }

    #[test]
    fn request_alone_takes_its_chunks_and_its_tokens() {
        let (model, times) = (EngineModel::default(), times());
        let expected = 3.0 * 0.012 + times.prompt(0, 5000);
        assert!(is_near(model.alone(5000, 1), expected));
        let load = DecodeLoad { sequences: 1, context: 5001 };
        assert!(is_near(model.alone(5000, 11), expected + times.decode(load, 10)));
    }

    #[test]
    fn way_of_a_request_and_parts_of_its_prompt_are_added() {
        let model = EngineModel {
            prompt_ms: 3.0,
            request_ms: 5.0,
            request_token_ns: 2000.0,
            ..EngineModel::default()
        };
        let more = 0.005 + 5000.0 * 2e-6 + 3.0 * 0.003;
        assert!(is_near(model.alone(5000, 11), EngineModel::default().alone(5000, 11) + more));
        assert!(is_near(StepTime::new(&model, 0.5).way(1000), 2.0 * 0.007));
    }

    #[test]
    fn half_the_speed_takes_twice_the_time() {
        let slow = StepTime::new(&EngineModel::default(), 0.5);
        assert!(is_near(slow.decode(LOAD, 7), 2.0 * times().decode(LOAD, 7)));
        assert!(is_near(slow.prompt(10, 700), 2.0 * times().prompt(10, 700)));
    }
}
