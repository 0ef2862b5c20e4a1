//! Where the chains of an engine's blocks end, by the engine's own names for them.

use std::collections::HashMap;

use sglang_router_rs::prefix_index::KeptBeside;
use sglang_router_rs::types::{PrefixBlocks, TokenChain};

/// Bytes of a slot of the map, the byte that tells what is in it included.
const SLOT_BYTES: usize = size_of::<(u64, ChainPlace)>() + 1;

/// How far back a place is looked for, in blocks of one token: a block of the index has no more tokens.
const MAX_TOKENS_BACK: usize = 0x4000;

/// The end of a chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ChainEnd {
    pub(crate) chain: TokenChain,
    /// Blocks of the index up to here.
    pub(crate) depth: u32,
}

/// The end of an engine's block. Most engines' blocks are as large as those of the index, or one token: these take
/// no more than their name and 16 bytes.
#[derive(Debug)]
enum ChainPlace {
    /// It ends with a block of the index, and completes that one alone, or none.
    Whole { last: u64, depth: u32, completes: bool },
    /// A block of one token behind this one, which completes none.
    Token { before: u64, token: u32 },
    /// Any other.
    Other(Box<OtherPlace>),
}

#[derive(Debug)]
struct OtherPlace {
    end: ChainEnd,
    /// Blocks of the index that it completes.
    completes: Box<[u64]>,
}

/// What an engine's block is, for who notes it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ToldBlock<'a> {
    /// The engine's name of the block.
    pub(crate) hash: u64,
    /// The block before it.
    pub(crate) before: Option<u64>,
    pub(crate) tokens: &'a [u32],
    pub(crate) end: ChainEnd,
    /// Blocks of the index that it completes.
    pub(crate) completes: &'a [u64],
}

/// The ends of an engine's blocks.
#[derive(Debug)]
pub(crate) struct ChainPlaces {
    all: HashMap<u64, ChainPlace>,
    /// Slots of the map; it does not tell them itself where some were left.
    slots: usize,
    /// Bytes of all that is beside the map.
    other_bytes: usize,
    kept: KeptBeside,
}

impl ChainPlaces {
    pub(crate) fn new(kept: KeptBeside) -> Self {
        Self { all: HashMap::new(), slots: 0, other_bytes: 0, kept }
    }

    /// Blocks of the engine.
    pub(crate) fn len(&self) -> usize {
        self.all.len()
    }

    /// Where a block ends.
    pub(crate) fn end(&self, blocks: PrefixBlocks, hash: u64) -> Option<ChainEnd> {
        let (mut hash, mut tokens) = (hash, Vec::new());
        let mut end = loop {
            match self.all.get(&hash)? {
                ChainPlace::Whole { last, depth, .. } => {
                    break ChainEnd { chain: TokenChain::behind(blocks, *last), depth: *depth };
                }
                ChainPlace::Other(other) => break other.end,
                ChainPlace::Token { before, token } if tokens.len() < MAX_TOKENS_BACK => {
                    tokens.push(*token);
                    hash = *before;
                }
                // Blocks that name each other in a circle.
                ChainPlace::Token { .. } => return None,
            }
        };
        // None of them completes a block.
        for token in tokens.iter().rev() {
            let _none = end.chain.push(*token);
        }
        Some(end)
    }

    /// Notes a block; false if there is no room for it. `gone` is told what the block of that name completed
    /// before.
    pub(crate) fn insert(&mut self, told: ToldBlock<'_>, gone: impl FnOnce(&[u64])) -> bool {
        let place = place(told);
        let bytes = self.other_bytes + place.other_bytes();
        let grows = self.all.len() == self.all.capacity() && !self.all.contains_key(&told.hash);
        let slots = if grows { (self.slots * 2).max(slots_for(1)) } else { self.slots };
        if !self.kept.resize(slots * SLOT_BYTES + bytes) {
            return false;
        }
        self.other_bytes = bytes;
        if let Some(before) = self.all.insert(told.hash, place) {
            self.forget(before, gone);
        }
        // Slots that were left may have been made use of instead.
        self.slots = self.slots.max(slots_for(self.all.capacity()));
        self.note_bytes();
        true
    }

    /// Forgets a block. `gone` is told what it completed.
    pub(crate) fn remove(&mut self, hash: u64, gone: impl FnOnce(&[u64])) {
        if let Some(place) = self.all.remove(&hash) {
            self.forget(place, gone);
            self.note_bytes();
        }
    }

    /// Forgets all blocks. `gone` is told what they completed.
    pub(crate) fn clear(&mut self, mut gone: impl FnMut(&[u64])) {
        std::mem::take(&mut self.all).values().for_each(|place| place.completes(&mut gone));
        (self.slots, self.other_bytes) = (0, 0);
        self.note_bytes();
    }

    fn forget(&mut self, place: ChainPlace, gone: impl FnOnce(&[u64])) {
        self.other_bytes -= place.other_bytes();
        place.completes(gone);
    }

    /// They are no more than there is room for.
    fn note_bytes(&mut self) {
        let _noted = self.kept.resize(self.slots * SLOT_BYTES + self.other_bytes);
    }
}

impl ChainPlace {
    fn completes(&self, told: impl FnOnce(&[u64])) {
        match self {
            Self::Whole { last, completes: true, .. } => told(&[*last]),
            Self::Whole { .. } | Self::Token { .. } => {}
            Self::Other(other) => told(&other.completes),
        }
    }

    /// Bytes that it takes beside the map, as allocators round them.
    fn other_bytes(&self) -> usize {
        match self {
            Self::Whole { .. } | Self::Token { .. } => 0,
            Self::Other(other) => {
                (size_of::<OtherPlace>() + size_of_val(&*other.completes) + 16).next_multiple_of(16)
            }
        }
    }
}

fn place(told: ToldBlock<'_>) -> ChainPlace {
    let ChainEnd { chain, depth } = told.end;
    match (told.completes, told.before, told.tokens) {
        ([], ..) if chain.is_between_blocks() => {
            ChainPlace::Whole { last: chain.last(), depth, completes: false }
        }
        ([one], ..) if chain.is_between_blocks() && *one == chain.last() => {
            ChainPlace::Whole { last: *one, depth, completes: true }
        }
        ([], Some(before), [token]) => ChainPlace::Token { before, token: *token },
        (completes, ..) => {
            ChainPlace::Other(Box::new(OtherPlace { end: told.end, completes: completes.into() }))
        }
    }
}

/// Slots of a map with room for so many: eight for seven, a power of two of them.
fn slots_for(capacity: usize) -> usize {
    if capacity == 0 { 0 } else { (capacity * 8).div_ceil(7).next_power_of_two().max(4) }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use sglang_router_rs::prefix_index::PrefixIndex;
    use sglang_router_rs::types::PrefixSeed;

    use super::*;

    const BLOCKS: PrefixBlocks = PrefixBlocks { tokens: 16, ..PrefixBlocks::DEFAULT };
    const SEED: PrefixSeed<'static> = PrefixSeed { model: "m", adapter: "", salt: "", preamble: 0 };

    /// Notes blocks of one token each, named by their place, and gives the ends as they were noted.
    fn tokens_of(places: &mut ChainPlaces, count: u32) -> Vec<ChainEnd> {
        let mut end = ChainEnd { chain: TokenChain::new(BLOCKS, &SEED), depth: 0 };
        let mut note = |nth: u32| {
            let done = end.chain.push(nth);
            end.depth += u32::from(done.is_some());
            let before = nth.checked_sub(1).map(u64::from);
            let tokens = &[nth];
            let told = ToldBlock { hash: nth.into(), before, tokens, end, completes: done.as_slice() };
            assert!(places.insert(told, |_| panic!("it is new")));
            end
        };
        (0..count).map(&mut note).collect()
    }

    #[test]
    fn chains_go_on_from_every_token() {
        let index = Arc::new(PrefixIndex::new(1 << 20));
        let mut places = ChainPlaces::new(KeptBeside::new(&index));
        let ends = tokens_of(&mut places, 100);
        for (nth, noted) in (0_u64..).zip(&ends) {
            let (mut found, mut noted) = (places.end(BLOCKS, nth).expect("it is there"), *noted);
            assert_eq!(found.depth, noted.depth);
            let next = |end: &mut ChainEnd| (0..40).map(|token| end.chain.push(token)).collect::<Vec<_>>();
            assert_eq!(next(&mut found), next(&mut noted), "{nth}");
        }
        // Behind one that is gone nothing is known up to the next whole block.
        places.remove(20, |_| panic!("it completes none"));
        assert!([20, 21, 30].iter().all(|nth| places.end(BLOCKS, *nth).is_none()));
        assert!([19, 31, 32].iter().all(|nth| places.end(BLOCKS, *nth).is_some()));
    }

    #[test]
    fn blocks_that_name_each_other_end_nowhere() {
        let index = Arc::new(PrefixIndex::new(1 << 20));
        let mut places = ChainPlaces::new(KeptBeside::new(&index));
        let end = tokens_of(&mut places, 3)[2];
        let told = ToldBlock { hash: 1, before: Some(2), tokens: &[1], end, completes: &[] };
        assert!(places.insert(told, |_| ()));
        assert!(places.end(BLOCKS, 2).is_none());
    }

    #[test]
    fn one_token_or_one_block_takes_a_slot_and_nothing_else() {
        let index = Arc::new(PrefixIndex::new(64 << 20));
        let mut places = ChainPlaces::new(KeptBeside::new(&index));
        let ends = tokens_of(&mut places, 1 << 16);
        let slots = 1 << 17;
        let kept = index.stats().kept_beside;
        assert!(SLOT_BYTES == 25 && kept < slots * SLOT_BYTES + 200, "{kept}");
        let told =
            ToldBlock { hash: 77, before: Some(7), tokens: &[0; 32], end: ends[31], completes: &[1, 2] };
        assert!(places.insert(told, |_| ()));
        assert!(index.stats().kept_beside > kept);
        let mut gone = Vec::new();
        places.remove(77, |completed| gone.extend_from_slice(completed));
        assert_eq!((gone, index.stats().kept_beside), (vec![1, 2], kept));
    }
}
