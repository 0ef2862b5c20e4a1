//! What of a prompt an engine can find in its cache: whole blocks of its own.

use sgl_policy_abi::Column;

/// Up to so many tokens, blocks of engines are no larger than those of the index, by its default.
const FINE: u32 = 16;

/// The tokens of a block of each worker's engine, in the order of a table. Empty where nobody's are larger
/// than blocks of the index are: then there is nothing to round.
#[derive(Debug, Default)]
pub(crate) struct WholeBlocks {
    tokens: Box<[u32]>,
}

impl WholeBlocks {
    pub(crate) fn of(blocks: impl Iterator<Item = Option<u32>> + Clone) -> Self {
        if blocks.clone().flatten().all(|tokens| tokens <= FINE) {
            return Self::default();
        }
        Self { tokens: blocks.map(|tokens| tokens.unwrap_or(1).max(1)).collect() }
    }

    /// As much of a worker's match as its engine can use.
    #[inline]
    pub(crate) fn round(&self, index: usize, matched: i32) -> i32 {
        self.tokens.get(index).map_or(matched, |block| whole(matched, *block))
    }

    /// The same for a column of matches.
    #[inline]
    pub(crate) fn round_column(&self, column: &mut [u8]) {
        let cells = column.as_chunks_mut::<{ Column::WIDTH }>().0;
        for (cell, block) in cells.iter_mut().zip(&self.tokens) {
            *cell = whole(i32::from_le_bytes(*cell), *block).to_le_bytes();
        }
    }
}

/// What is unknown is below zero, and stays as it is.
#[inline]
fn whole(matched: i32, block: u32) -> i32 {
    match u32::try_from(matched) {
        Ok(tokens) => (tokens - tokens % block).cast_signed(),
        Err(_) => matched,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rounded(blocks: &[Option<u32>], matches: &[i32]) -> Vec<i32> {
        let whole = WholeBlocks::of(blocks.iter().copied());
        let mut column: Vec<u8> = matches.iter().flat_map(|tokens| tokens.to_le_bytes()).collect();
        whole.round_column(&mut column);
        let cells: Vec<i32> = column.as_chunks().0.iter().map(|cell| i32::from_le_bytes(*cell)).collect();
        assert!(
            cells.iter().copied().eq((0..).zip(matches).map(|(index, tokens)| whole.round(index, *tokens)))
        );
        cells
    }

    #[test]
    fn matches_are_cut_to_whole_blocks_of_each_engine() {
        let blocks = [Some(128), Some(1), None, Some(544), Some(0)];
        assert_eq!(rounded(&blocks, &[320, 320, 320, 320, 320]), [256, 320, 320, 0, 320]);
        assert_eq!(rounded(&blocks, &[-1, -1, -1, 1088, 0]), [-1, -1, -1, 1088, 0]);
    }

    #[test]
    fn blocks_as_fine_as_those_of_the_index_change_nothing() {
        assert_eq!(rounded(&[Some(16), None, Some(1)], &[31, 31, -1]), [31, 31, -1]);
        assert!(WholeBlocks::of([Some(16), None].into_iter()).tokens.is_empty());
    }
}
