//! The blocks that one rank of an engine holds, and which blocks of the router's index they stand for.

use std::sync::Arc;

use crate::proxy::feed_log::{EventKind, FeedLog};
use crate::proxy::kv_events::cache_event::{CacheEvent, StoredBlocks};
use crate::proxy::kv_events::cache_names::{CacheNames, name_in_index};
use crate::proxy::kv_events::chain_extension::{ChainExtension, ChainStart};
use crate::proxy::kv_events::chain_places::{ChainEnd, ChainPlaces};
use crate::proxy::kv_events::held_blocks_change::HeldBlocksChange;
use sglang_router_rs::prefix_index::{KeptBeside, PrefixIndex};
use sglang_router_rs::types::{PrefixBlocks, TokenChain};

/// How a rank's blocks are known: all of them in the same way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum KnownBy {
    /// None was told of yet.
    Undecided,
    /// The index knows the engine's names.
    Names,
    /// By where their chains end.
    Places,
}

/// From blocks of an engine to blocks of the index.
///
/// Where both are alike, the index itself knows the engine's names for them. Otherwise an engine's block may be smaller
/// than one of the index, or larger, or held by another rank too; so it is known how its chain goes on, and which
/// blocks it completes.
#[derive(Debug)]
pub(crate) struct RankChains {
    names: Arc<CacheNames>,
    blocks: PrefixBlocks,
    max_blocks: usize,
    /// For each name of the model, what the index does not know by itself; the first one has the adapters too.
    chains: Vec<ChainPlaces>,
    known_by: KnownBy,
    /// The group of layers that counts: the first that told of blocks.
    group: Option<u32>,
}

impl RankChains {
    /// A rank that holds nothing, and no more than `max_blocks` of its blocks for each name. What is known of
    /// them is kept beside the index.
    pub(crate) fn new(
        names: Arc<CacheNames>,
        blocks: PrefixBlocks,
        max_blocks: usize,
        index: &Arc<PrefixIndex>,
    ) -> Self {
        let chains = names.models.iter().map(|_| ChainPlaces::new(KeptBeside::new(index))).collect();
        Self { names, blocks, max_blocks, chains, known_by: KnownBy::Undecided, group: None }
    }

    /// Takes what the rank says. `is_only` if the worker has no other.
    pub(crate) fn take(
        &mut self,
        event: CacheEvent,
        held: &mut HeldBlocksChange<'_>,
        is_only: bool,
        log: &FeedLog,
    ) {
        let kind = match event {
            CacheEvent::Stored(blocks) => self.store(&blocks, held, is_only),
            CacheEvent::Removed(_, group) if self.is_other(group) => EventKind::Ignored,
            CacheEvent::Removed(hashes, _) => {
                self.remove(&hashes, held);
                EventKind::Removed
            }
            CacheEvent::Cleared => {
                self.clear(held, is_only);
                EventKind::Cleared
            }
            CacheEvent::Other => EventKind::Ignored,
            CacheEvent::Odd => EventKind::Odd,
        };
        log.event(kind);
    }

    /// Forgets all that the rank said.
    pub(crate) fn clear(&mut self, held: &mut HeldBlocksChange<'_>, is_only: bool) {
        for chains in &mut self.chains {
            // All of it is cleared below where there is no other.
            chains.clear(|completed| {
                if !is_only {
                    held.removed(completed)
                }
            });
        }
        (self.group, self.known_by) = (None, KnownBy::Undecided);
        if is_only {
            held.cleared();
        }
    }

    fn is_other(&self, group: Option<u32>) -> bool {
        self.group.is_some() && group.is_some() && self.group != group
    }

    fn remove(&mut self, hashes: &[u64], held: &mut HeldBlocksChange<'_>) {
        for (chains, nth) in self.chains.iter_mut().zip(0..) {
            for hash in hashes {
                chains.remove(*hash, |completed| held.removed(completed));
                if self.known_by == KnownBy::Names {
                    held.removed_as(name_in_index(*hash, nth));
                }
            }
        }
    }

    fn store(&mut self, blocks: &StoredBlocks, held: &mut HeldBlocksChange<'_>, is_only: bool) -> EventKind {
        if self.is_other(blocks.group) {
            return EventKind::Ignored;
        }
        // What belongs to nothing that is known makes nothing forgotten.
        if self.known_by == KnownBy::Names && self.before(blocks, (0, 0), held).is_none() {
            return EventKind::Orphan;
        }
        self.decide(blocks, held, is_only);
        self.group = self.group.or(blocks.group);
        let names = if blocks.adapter.is_some() { 1 } else { self.chains.len() };
        let max_named = self.max_blocks.saturating_mul(self.chains.len());
        let mut kind = EventKind::Stored;
        for (name, nth) in (0..names).zip(0..) {
            let Some(start) = self.before(blocks, (name, nth), held) else { return EventKind::Orphan };
            let Some(chains) = self.chains.get_mut(name) else { break };
            let mut extension = ChainExtension {
                chains,
                by_name: self.known_by == KnownBy::Names,
                max_depth: self.blocks.max_blocks,
                max_blocks: self.max_blocks,
                max_named,
                name_in_index: |hash| name_in_index(hash, nth),
            };
            if !extension.add(blocks, start, held) {
                kind = EventKind::Refused;
            }
        }
        kind
    }

    /// By the size of the first blocks, until others come: then all is forgotten, because no block may be known in both
    /// ways. Engines that are in their right mind have blocks of one size.
    fn decide(&mut self, blocks: &StoredBlocks, held: &mut HeldBlocksChange<'_>, is_only: bool) {
        // Other ranks may hold the same blocks, by the same names.
        let is_alike = is_only && blocks.block_tokens == self.blocks.tokens as usize;
        self.known_by = match self.known_by {
            KnownBy::Undecided if is_alike => KnownBy::Names,
            KnownBy::Names if is_alike => return,
            KnownBy::Names => {
                self.clear(held, is_only);
                KnownBy::Places
            }
            _ => KnownBy::Places,
        };
    }

    /// Where the first of these blocks begins.
    fn before(
        &self,
        blocks: &StoredBlocks,
        (name, nth): (usize, u64),
        held: &mut HeldBlocksChange<'_>,
    ) -> Option<ChainStart> {
        if let Some(parent) = blocks.parent {
            if let Some(end) = self.chains.get(name)?.end(self.blocks, parent) {
                return Some(ChainStart { end, above: (end.depth > 0).then_some(end.chain.last()) });
            }
            let parent = name_in_index(parent, nth);
            let last = if self.known_by == KnownBy::Names { held.reported(parent) } else { None }?;
            let end = ChainEnd { chain: TokenChain::behind(self.blocks, last.hash), depth: last.depth };
            return Some(ChainStart { end, above: Some(parent) });
        }
        let end = ChainEnd { chain: self.names.start(name, blocks, self.blocks)?, depth: 0 };
        Some(ChainStart { end, above: None })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proxy::kv_events::held_blocks_change::OtherHolders;
    use sglang_router_rs::prefix_index::IndexedWorker;
    use sglang_router_rs::types::{PrefixHasher, PrefixSeed};

    const BLOCKS: PrefixBlocks = PrefixBlocks { tokens: 4, ..PrefixBlocks::DEFAULT };

    struct Rig {
        index: Arc<PrefixIndex>,
        worker: IndexedWorker,
        others: OtherHolders,
        log: FeedLog,
    }

    impl Rig {
        fn new() -> Self {
            let index = Arc::new(PrefixIndex::new(1 << 24));
            let worker = index.enter(3).unwrap();
            Self { index, worker, others: OtherHolders::new(), log: FeedLog::default() }
        }

        fn take(&mut self, rank: &mut RankChains, is_only: bool, event: CacheEvent) {
            let mut held = HeldBlocksChange::new(&self.index, self.worker, &mut self.others);
            rank.take(event, &mut held, is_only, &self.log);
        }

        fn rank(&self, models: &[&str]) -> RankChains {
            let models = models.iter().map(|model| (*model).to_owned()).collect();
            self.rank_with(CacheNames { models, adapter_is_model: true }, BLOCKS)
        }

        fn rank_with(&self, names: CacheNames, blocks: PrefixBlocks) -> RankChains {
            RankChains::new(Arc::new(names), blocks, 1000, &self.index)
        }

        /// Tokens of a prompt that the index says are held.
        fn matched(&self, seed: &PrefixSeed<'_>, tokens: &[u32]) -> i32 {
            self.matched_with(BLOCKS, seed, tokens)
        }

        fn matched_with(&self, blocks: PrefixBlocks, seed: &PrefixSeed<'_>, tokens: &[u32]) -> i32 {
            let mut hasher = PrefixHasher::new(blocks, 0);
            tokens.iter().for_each(|token| hasher.token(*token));
            self.index.matched(self.worker, &hasher.finish(seed), 4.0)
        }
    }

    const SEED: PrefixSeed<'static> = PrefixSeed { model: "m", adapter: "", salt: "", preamble: 0 };

    /// The block of a prompt of `block_tokens` at this place, and those after it.
    fn stored(prompt: &[u32], block_tokens: usize, from: usize) -> StoredBlocks {
        let hash = |end: usize| end as u64 + 1000 * u64::from(prompt[0]);
        let tokens = prompt[from..].chunks_exact(block_tokens).flatten().copied().collect::<Vec<_>>();
        let hashes: Vec<u64> =
            (1..=tokens.len() / block_tokens).map(|nth| hash(from + nth * block_tokens)).collect();
        StoredBlocks {
            parent: (from > 0).then(|| hash(from)),
            plain: hashes.len(),
            hashes,
            tokens,
            block_tokens,
            ..StoredBlocks::default()
        }
    }

    fn event(blocks: StoredBlocks) -> CacheEvent {
        CacheEvent::Stored(Box::new(blocks))
    }

    #[test]
    fn blocks_of_any_size_come_to_the_blocks_that_requests_hash() {
        let prompt: Vec<u32> = (7..47).collect();
        for block_tokens in [1, 2, 3, 4, 5, 8, 16, 40] {
            let mut rig = Rig::new();
            let mut rank = rig.rank(&["m"]);
            // In two events, the second of which goes on from the first.
            let middle = 40 / block_tokens / 2 * block_tokens;
            let mut first = stored(&prompt[..middle.max(1)], block_tokens, 0);
            if middle == 0 {
                first = stored(&prompt, block_tokens, 0);
            }
            rig.take(&mut rank, true, event(first));
            if middle > 0 {
                rig.take(&mut rank, true, event(stored(&prompt, block_tokens, middle)));
            }
            let whole = i32::try_from(40 / block_tokens * block_tokens / 4 * 4).unwrap();
            assert_eq!(rig.matched(&SEED, &prompt), whole, "{block_tokens}");
            let other: Vec<u32> =
                prompt.iter().map(|token| if *token == 7 + 17 { 0 } else { *token }).collect();
            assert_eq!(rig.matched(&SEED, &other), whole.min(16), "{block_tokens}");
            // The last block of the engine goes.
            let last = stored(&prompt, block_tokens, 0).hashes.pop().unwrap();
            rig.take(&mut rank, true, CacheEvent::Removed(vec![last], None));
            let left = i32::try_from((40 / block_tokens - 1) * block_tokens / 4 * 4).unwrap();
            assert_eq!(rig.matched(&SEED, &prompt), left, "{block_tokens}");
        }
    }

    #[test]
    fn names_adapters_and_salts_are_those_of_requests() {
        let prompt: Vec<u32> = (7..23).collect();
        let mut rig = Rig::new();
        let mut rank = rig.rank(&["m", "alias"]);
        rig.take(&mut rank, true, event(stored(&prompt, 4, 0)));
        let held = |rig: &Rig, seed: PrefixSeed<'_>| rig.matched(&seed, &prompt);
        assert_eq!((held(&rig, SEED), held(&rig, PrefixSeed { model: "alias", ..SEED })), (16, 16));
        assert_eq!(
            (held(&rig, PrefixSeed { model: "a", ..SEED }), held(&rig, PrefixSeed { salt: "s", ..SEED })),
            (0, 0)
        );
        rig.take(&mut rank, true, CacheEvent::Removed(stored(&prompt, 4, 0).hashes, None));
        assert_eq!((held(&rig, SEED), held(&rig, PrefixSeed { model: "alias", ..SEED })), (0, 0));
        let own = StoredBlocks {
            adapter: Some("a".to_owned()),
            salt: Some("s".to_owned()),
            ..stored(&prompt, 4, 0)
        };
        rig.take(&mut rank, true, event(own));
        assert_eq!(held(&rig, PrefixSeed { model: "a", salt: "s", ..SEED }), 16);
        assert_eq!(rig.index.stats().reported_blocks, 4, "an adapter has one name");
        assert_eq!((held(&rig, SEED), held(&rig, PrefixSeed { salt: "s", ..SEED })), (0, 0));
        let names = CacheNames { models: vec!["m".to_owned()], adapter_is_model: false };
        let mut beside = rig.rank_with(names, BLOCKS);
        let own = StoredBlocks { adapter: Some("b".to_owned()), ..stored(&prompt, 4, 0) };
        rig.take(&mut beside, true, event(own));
        assert_eq!(held(&rig, PrefixSeed { adapter: "b", ..SEED }), 16);
    }

    #[test]
    fn unknown_parents_other_groups_and_images_are_left_out() {
        let prompt: Vec<u32> = (7..23).collect();
        let mut rig = Rig::new();
        let mut rank = rig.rank(&["m"]);
        rig.take(&mut rank, true, event(stored(&prompt, 4, 8)));
        assert_eq!((rig.matched(&SEED, &prompt), rig.log.events(EventKind::Orphan)), (0, 1));
        rig.take(&mut rank, true, event(StoredBlocks { group: Some(0), plain: 2, ..stored(&prompt, 4, 0) }));
        assert_eq!(rig.matched(&SEED, &prompt), 8);
        let hashes = stored(&prompt, 4, 0).hashes;
        rig.take(&mut rank, true, CacheEvent::Removed(hashes.clone(), Some(1)));
        let other: Vec<u32> = (50..66).collect();
        rig.take(&mut rank, true, event(StoredBlocks { group: Some(1), ..stored(&other, 4, 0) }));
        assert_eq!((rig.matched(&SEED, &prompt), rig.matched(&SEED, &other)), (8, 0));
        assert_eq!(rig.log.events(EventKind::Ignored), 2);
        rig.take(&mut rank, true, CacheEvent::Removed(hashes, Some(0)));
        assert_eq!((rig.matched(&SEED, &prompt), rig.others.len()), (0, 0));
    }

    #[test]
    fn worker_holds_what_one_of_its_ranks_holds() {
        let prompt: Vec<u32> = (7..23).collect();
        let mut rig = Rig::new();
        let mut ranks = [rig.rank(&["m"]), rig.rank(&["m"])];
        for rank in &mut ranks {
            for _ in 0..3 {
                rig.take(rank, false, event(stored(&prompt, 4, 0)));
            }
        }
        let [first, second] = &mut ranks;
        rig.take(first, false, CacheEvent::Removed(stored(&prompt, 4, 8).hashes, None));
        assert_eq!(rig.matched(&SEED, &prompt), 16);
        rig.take(second, false, CacheEvent::Removed(stored(&prompt, 4, 8).hashes, None));
        assert_eq!(rig.matched(&SEED, &prompt), 8, "told three times, given up once");
        rig.take(first, false, CacheEvent::Cleared);
        assert_eq!(rig.matched(&SEED, &prompt), 8);
        rig.take(second, false, CacheEvent::Cleared);
        assert_eq!((rig.matched(&SEED, &prompt), rig.others.len()), (0, 0));
    }

    #[test]
    fn memory_is_bounded_whatever_an_engine_tells() {
        let mut rig = Rig::new();
        let mut rank = rig.rank(&["m"]);
        for nth in 0..3000_u32 {
            rig.take(&mut rank, true, event(stored(&[nth; 8], 4, 0)));
        }
        assert_eq!((rank.chains[0].len(), rig.index.stats().reported_blocks), (0, 1000));
        assert_eq!((rig.others.len(), rig.log.events(EventKind::Refused)), (0, 2500));
        rig.take(&mut rank, true, CacheEvent::Removed(stored(&[0; 8], 4, 4).hashes, None));
        // One hash for ever other tokens.
        for nth in 0..3000_u32 {
            let blocks = StoredBlocks { hashes: vec![4], ..stored(&[nth, 1, 1, 2], 4, 0) };
            rig.take(&mut rank, true, event(blocks));
        }
        assert_eq!((rig.index.stats().reported_blocks, rig.others.len()), (999, 0));
        assert_eq!(rig.matched(&SEED, &[2999, 1, 1, 2]), 4, "the last one of that name");
        let blocks = PrefixBlocks { max_blocks: 3, ..BLOCKS };
        let names = CacheNames { models: vec!["m".to_owned()], adapter_is_model: true };
        let mut rig = Rig::new();
        let mut short = rig.rank_with(names, blocks);
        rig.take(&mut short, true, event(stored(&[7; 400], 4, 0)));
        assert_eq!((rig.matched_with(blocks, &SEED, &[7; 400]), rig.index.stats().reported_blocks), (12, 3));
    }

    #[test]
    fn what_is_remembered_counts_as_the_index_and_takes_half_of_it_at_most() {
        let index = Arc::new(PrefixIndex::new(1 << 20));
        let mut rig = Rig { worker: index.enter(3).unwrap(), index, ..Rig::new() };
        for block_tokens in [1, 3, 8] {
            let names = CacheNames { models: vec!["m".to_owned()], adapter_is_model: true };
            let mut rank = RankChains::new(Arc::new(names), BLOCKS, usize::MAX, &rig.index);
            for nth in 0..20_000_u32 {
                rig.take(&mut rank, true, event(stored(&[nth; 24], block_tokens, 0)));
            }
            let kept = rig.index.stats().kept_beside;
            assert!(kept > 300 << 10 && kept <= 512 << 10, "{block_tokens}: {kept}");
            assert!(rig.log.events(EventKind::Refused) > 0, "{block_tokens}");
            for nth in 0..20_000_u32 {
                let gone = stored(&[nth; 24], block_tokens, 0).hashes;
                rig.take(&mut rank, true, CacheEvent::Removed(gone, None));
            }
            let left = rig.index.stats();
            assert!(left.kept_beside < kept + 1 && left.reported_blocks == 0, "{block_tokens}: {left:?}");
            rig.take(&mut rank, true, CacheEvent::Cleared);
            assert_eq!(rig.index.stats().kept_beside, 0, "{block_tokens}");
        }
    }
}
