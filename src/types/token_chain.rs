//! A chain of hashes of blocks of tokens that can be gone on with from any place.

use crate::types::prefix_hashes::{KEYS, PrefixBlocks, PrefixSeed, chained, finished, mixed};

/// A place in a chain of blocks of tokens, for who learns of prompts bit by bit and goes on from any place: it
/// is small, and makes the hashes that [`PrefixHasher`](crate::types::PrefixHasher) makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TokenChain {
    /// The hash of the last whole block, or where the chain begins.
    above: u64,
    /// What was hashed of the block that is begun.
    begun: u64,
    /// Its last tokens, which are not hashed yet: fewer than four.
    rest: [u32; 3],
    /// Its tokens.
    count: u16,
    block_tokens: u16,
}

impl TokenChain {
    /// The beginning of a prompt. A block has up to 16,383 tokens.
    pub fn new(blocks: PrefixBlocks, seed: &PrefixSeed<'_>) -> Self {
        let begin = Self::behind(blocks, 0);
        Self { above: seed.start(false, usize::from(begin.block_tokens) * 4), ..begin }
    }

    /// Behind a whole block with this hash.
    pub fn behind(blocks: PrefixBlocks, last: u64) -> Self {
        let block_tokens = u16::try_from(blocks.tokens.clamp(1, 0x3fff)).unwrap_or(1);
        let [begun, ..] = KEYS;
        Self { above: last, begun, rest: [0; 3], count: 0, block_tokens }
    }

    /// True where no block is begun: [`TokenChain::last`] is all that there is to know.
    pub fn is_between_blocks(&self) -> bool {
        self.count == 0
    }

    /// Goes on by a token. The hash of the block that it completes, if it does.
    pub fn push(&mut self, token: u32) -> Option<u64> {
        let pending = usize::from(self.count % 4);
        if let Some(place) = self.rest.get_mut(pending) {
            *place = token;
        } else {
            let [first, second, third] = self.rest;
            self.begun = mixed(self.begun, joined(first, second), joined(third, token));
        }
        self.count += 1;
        if self.count < self.block_tokens {
            return None;
        }
        let begun = match (self.count % 4, self.rest) {
            (0, _) => self.begun,
            (1, [first, ..]) => mixed(self.begun, joined(first, 0), 0),
            (2, [first, second, _]) => mixed(self.begun, joined(first, second), 0),
            (_, [first, second, third]) => mixed(self.begun, joined(first, second), joined(third, 0)),
        };
        self.above = chained(self.above, finished(begun, usize::from(self.count) * 4));
        [self.begun, ..] = KEYS;
        self.count = 0;
        Some(self.above)
    }

    /// The hash of the last whole block; before the first one it is the hash of none.
    pub fn last(&self) -> u64 {
        self.above
    }
}

fn joined(low: u32, high: u32) -> u64 {
    u64::from(high) << 32 | u64::from(low)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::prefix_hashes::PrefixHasher;

    const SEED: PrefixSeed<'static> = PrefixSeed { model: "m", adapter: "", salt: "", preamble: 0 };

    fn tokens(ids: impl IntoIterator<Item = u32>, blocks: PrefixBlocks, seed: &PrefixSeed<'_>) -> Vec<u64> {
        let mut hasher = PrefixHasher::new(blocks, 0);
        ids.into_iter().for_each(|id| hasher.token(id));
        hasher.finish(seed)
    }

    #[test]
    fn chain_makes_the_same_hashes_token_by_token_from_any_place() {
        for block_tokens in [1, 2, 3, 4, 5, 16, 17, 1024] {
            let blocks = PrefixBlocks { tokens: block_tokens, ..PrefixBlocks::default() };
            let mut chain = TokenChain::new(blocks, &SEED);
            let mut places = Vec::new();
            let all: Vec<u64> = (0..3000)
                .filter_map(|token| {
                    places.push(chain);
                    chain.push(token)
                })
                .collect();
            assert_eq!(all, tokens(0..3000, blocks, &SEED), "{block_tokens}");
            assert_eq!(chain.last(), *all.last().unwrap());
            let mut other = places[1000];
            let rest: Vec<u64> = (1000..3000).filter_map(|token| other.push(token)).collect();
            assert!(all.ends_with(&rest));
        }
        assert!(size_of::<TokenChain>() <= 32, "there is one for each block of each engine");
    }
}
