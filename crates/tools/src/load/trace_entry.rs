//! One recorded request.

use std::borrow::Cow;
use std::time::Duration;

/// One recorded request.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// From the first request of the trace.
    pub at: Duration,
    /// Length of the prompt.
    pub input_tokens: u32,
    /// Length of the answer, at least 1.
    pub output_tokens: u32,
    /// One id per block of prompt tokens; equal ids are equal text. Empty if the trace does not say which
    /// prompts share a prefix.
    pub blocks: Vec<u64>,
    /// Tokens of such a block on average, where the trace says so, and then an id stands for all blocks before
    /// it, too. Mooncake's traces have 512.
    pub block_tokens: Option<f32>,
    /// The session that it belongs to, if the trace says so.
    pub session: Option<Box<str>>,
    /// How long after the answer to the one before it in its session it came, if the trace says so.
    pub delay: Option<Duration>,
    /// Tokens that its answer might have had, if the trace says so.
    pub max_tokens: Option<u64>,
}

impl Entry {
    /// An id for each unit of so many tokens of its prompt, as far as the trace tells. A unit has the id of the
    /// last block that it reaches into; blocks whose size nobody says are units themselves.
    pub fn units(&self, tokens: u32) -> Cow<'_, [u64]> {
        let Some(block_tokens) = self.block_tokens.filter(|block_tokens| *block_tokens > 0.0) else {
            return Cow::Borrowed(&self.blocks);
        };
        let tokens = tokens.max(1);
        let ends = (1..=self.input_tokens / tokens).map(|unit| f64::from(unit) * f64::from(tokens));
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "whole, and not negative; what is too large has no block"
        )]
        let last = |end: f64| (end / f64::from(block_tokens)).ceil() as usize;
        ends.map_while(|end| self.blocks.get(last(end).saturating_sub(1)).copied()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(input_tokens: u32, block_tokens: Option<f32>) -> Entry {
        let blocks = (1..=10).collect();
        let (at, output_tokens) = (Duration::ZERO, 1);
        let (session, delay, max_tokens) = (None, None, None);
        Entry { at, input_tokens, output_tokens, blocks, block_tokens, session, delay, max_tokens }
    }

    #[test]
    fn units_have_the_ids_of_the_blocks_in_which_they_end() {
        assert_eq!(*entry(1000, Some(16.0)).units(16), [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
        assert_eq!(*entry(1000, Some(16.0)).units(64), [4, 8], "the rest of the blocks is no whole unit");
        assert_eq!(*entry(63, Some(16.0)).units(16), [1, 2, 3], "no more than the prompt has");
        assert_eq!(*entry(1000, Some(12.8)).units(32), [3, 5, 8, 10]);
        assert!(entry(1000, Some(16.0)).units(512).is_empty());
        assert_eq!(entry(5, None).units(512).len(), 10, "as the file has them");
    }
}
