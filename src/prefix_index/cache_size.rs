//! How much of prompts a worker's cache has room for.

/// Blocks of a worker whose size nobody knows: a million tokens in blocks of 16. Rather too many: an index
/// of twice the real size costs a policy little, one of half the size most of its hits.
const UNKNOWN_BLOCKS: u32 = 65_536;

/// Tokens of a block beyond which none is believed to be.
const BLOCK_TOKENS: std::ops::RangeInclusive<f32> = 0.25..=65_536.0;

/// The blocks that a worker can hold: as many as it was said to, or as many as its tokens are.
///
/// What tokens a block of text has is learnt from what is sent there, so it follows the mix of models that a
/// worker serves.
#[derive(Clone, Copy, Debug)]
pub(super) struct CacheSize {
    blocks: u32,
    tokens: Option<u32>,
    /// Tokens of a block of what was sent lately, on average; `None` = nobody knew it yet.
    block_tokens: Option<f32>,
}

impl Default for CacheSize {
    fn default() -> Self {
        Self { blocks: UNKNOWN_BLOCKS, tokens: None, block_tokens: None }
    }
}

impl CacheSize {
    /// How many there are.
    pub(super) fn blocks(self) -> usize {
        self.blocks as usize
    }

    /// From now on it has so many, whatever they are.
    pub(super) fn set_blocks(&mut self, blocks: u32) {
        *self = Self { blocks, tokens: None, ..*self };
    }

    /// From now on it has so many tokens, in blocks that have `assumed` until more is known.
    pub(super) fn set_tokens(&mut self, tokens: u32, assumed: u32) {
        self.tokens = Some(tokens);
        self.blocks = tokens.div_ceil(assumed.max(1)).max(1);
        self.fit();
    }

    /// So many blocks were sent there that have `block_tokens` each: they count for as much of the average as
    /// they are of what fits in.
    pub(super) fn sent(&mut self, blocks: usize, block_tokens: f32) {
        let told = block_tokens.clamp(*BLOCK_TOKENS.start(), *BLOCK_TOKENS.end());
        if told.is_nan() {
            return;
        }
        #[expect(clippy::cast_precision_loss, reason = "a weight")]
        let share = (blocks as f32 / self.blocks.max(1) as f32).min(1.0);
        self.block_tokens = Some(self.block_tokens.map_or(told, |mean| mean + (told - mean) * share));
        self.fit();
    }

    fn fit(&mut self) {
        if let (Some(tokens), Some(block_tokens)) = (self.tokens, self.block_tokens) {
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "not negative; what is too large becomes the largest"
            )]
            let blocks = (f64::from(tokens) / f64::from(block_tokens)).ceil() as u32;
            self.blocks = blocks.max(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_follow_what_is_known_of_their_tokens() {
        let mut size = CacheSize::default();
        assert_eq!(size.blocks(), 65_536);
        size.set_tokens(16_000, 12);
        assert_eq!(size.blocks(), 1334);
        size.sent(10, 16.0);
        assert_eq!(size.blocks(), 1000, "the first word counts wholly");
        size.sent(500, 12.0);
        assert_eq!(size.blocks(), 1143, "half a cache of others is half of the average: 14");
        size.set_tokens(32_000, 12);
        assert_eq!(size.blocks(), 2286, "what was learnt stays when the worker has more");
        size.set_blocks(7);
        size.sent(100, 12.0);
        assert_eq!(size.blocks(), 7, "blocks that were said are no tokens");
    }

    #[test]
    fn nonsense_leaves_room_for_something_and_no_more_than_there_is() {
        let mut size = CacheSize::default();
        size.set_tokens(0, 0);
        assert_eq!(size.blocks(), 1);
        for told in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 0.0, -1.0] {
            size.set_tokens(1000, 10);
            size.sent(usize::MAX, told);
            assert!((1..=4000).contains(&size.blocks()), "{told}: {}", size.blocks());
        }
        let mut size = CacheSize::default();
        size.set_tokens(1000, 10);
        size.sent(1, f32::NAN);
        assert_eq!(size.blocks(), 100, "that says nothing");
    }
}
