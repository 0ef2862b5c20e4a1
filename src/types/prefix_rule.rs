//! A number for how hashes of prefixes are made.

use crate::types::prefix_hashes::{PrefixBlocks, PrefixSeed, chained};

/// A number for how hashes of prefixes are made: with other sizes of blocks, and by versions that hash otherwise,
/// it is another one. Hashes of two rules must not be compared.
pub fn prefix_rule(blocks: PrefixBlocks) -> u64 {
    let begins = |is_text, bytes: u32| PrefixSeed::default().start(is_text, bytes as usize);
    chained(begins(true, blocks.text_bytes), begins(false, blocks.tokens.saturating_mul(4)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rule_is_another_for_blocks_of_other_sizes_and_the_same_for_longer_prompts() {
        let rule = prefix_rule(PrefixBlocks::DEFAULT);
        assert_eq!(rule, prefix_rule(PrefixBlocks { max_blocks: 7, ..PrefixBlocks::DEFAULT }));
        assert_ne!(rule, prefix_rule(PrefixBlocks { tokens: 32, ..PrefixBlocks::DEFAULT }));
        assert_ne!(rule, prefix_rule(PrefixBlocks { text_bytes: 16, ..PrefixBlocks::DEFAULT }));
    }
}
