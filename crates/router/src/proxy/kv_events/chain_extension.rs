//! How an engine's blocks become blocks of the index.

use crate::proxy::kv_events::cache_event::StoredBlocks;
use crate::proxy::kv_events::chain_places::{ChainEnd, ChainPlaces, ToldBlock};
use crate::proxy::kv_events::held_blocks_change::HeldBlocksChange;

/// Where blocks begin.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ChainStart {
    pub(crate) end: ChainEnd,
    /// What the index calls the last block before it.
    pub(crate) above: Option<u64>,
}

/// Adds blocks to chains of one name of the model.
#[derive(Debug)]
pub(crate) struct ChainExtension<'a, F> {
    pub(crate) chains: &'a mut ChainPlaces,
    /// Whether the index knows blocks by the engine's names.
    pub(crate) by_name: bool,
    /// Blocks of the longest prompt that is looked for.
    pub(crate) max_depth: u32,
    /// Blocks in `chains` at most.
    pub(crate) max_blocks: usize,
    /// Blocks of the worker that the index knows at most.
    pub(crate) max_named: usize,
    /// The engine's name of a block, as the index has it.
    pub(crate) name_in_index: F,
}

impl<F: Fn(u64) -> u64> ChainExtension<'_, F> {
    /// Goes on with these blocks; false if there is no room for all of them.
    pub(crate) fn add(
        &mut self,
        blocks: &StoredBlocks,
        mut start: ChainStart,
        held: &mut HeldBlocksChange<'_>,
    ) -> bool {
        let mut before = blocks.parent;
        let each = blocks.hashes.iter().zip(blocks.tokens.chunks(blocks.block_tokens.max(1)));
        for (hash, tokens) in each.take(blocks.plain) {
            // What is behind the longest prompt that is hashed is not looked for.
            let is_added = if self.by_name && start.end.depth < self.max_depth {
                self.add_named(*hash, tokens, &mut start, held)
            } else {
                self.add_place((*hash, before), tokens, &mut start, held)
            };
            if !is_added {
                return false;
            }
            before = Some(*hash);
        }
        true
    }

    /// Adds a block that the index knows by the engine's name. It is one of the index.
    fn add_named(
        &mut self,
        hash: u64,
        tokens: &[u32],
        start: &mut ChainStart,
        held: &mut HeldBlocksChange<'_>,
    ) -> bool {
        let name = (self.name_in_index)(hash);
        if held.reported_blocks(self.max_named) >= self.max_named {
            return false;
        }
        for token in tokens {
            let _done = start.end.chain.push(*token);
        }
        start.end.depth += 1;
        // It was told before, of other tokens.
        self.chains.remove(hash, |completed| held.removed(completed));
        held.stored_as(start.above, start.end.chain.last(), name, start.end.depth);
        start.above = Some(name);
        true
    }

    /// Adds any other block.
    fn add_place(
        &mut self,
        (hash, before): (u64, Option<u64>),
        tokens: &[u32],
        start: &mut ChainStart,
        held: &mut HeldBlocksChange<'_>,
    ) -> bool {
        if self.chains.len() >= self.max_blocks {
            return false;
        }
        let end = &mut start.end;
        let mut completes = Vec::new();
        for token in tokens {
            let Some(done) = end.chain.push(*token) else { continue };
            if end.depth < self.max_depth {
                completes.push(done);
            }
            end.depth = end.depth.saturating_add(1);
        }
        let told = ToldBlock { hash, before, tokens, end: *end, completes: &completes };
        let mut gone = Vec::new();
        if !self.chains.insert(told, |completed| gone.extend_from_slice(completed)) {
            return false;
        }
        if self.by_name {
            held.removed_as((self.name_in_index)(hash));
        }
        for done in &completes {
            held.stored(start.above, *done);
            start.above = Some(*done);
        }
        if !gone.is_empty() {
            // It was told before, perhaps of other tokens.
            held.removed(&gone);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};
    use std::sync::Arc;

    use crate::proxy::feed_log::{EventKind, FeedLog};
    use crate::proxy::kv_events::cache_event::CacheEvent;
    use crate::proxy::kv_events::cache_names::CacheNames;
    use crate::proxy::kv_events::held_blocks_change::OtherHolders;
    use crate::proxy::kv_events::rank_chains::RankChains;
    use sglang_router_rs::prefix_index::{IndexedWorker, PrefixIndex};
    use sglang_router_rs::types::{PrefixBlocks, PrefixHasher, PrefixSeed};

    use super::*;

    const BLOCKS: PrefixBlocks = PrefixBlocks { tokens: 4, ..PrefixBlocks::DEFAULT };
    const MODELS: [&str; 2] = ["m", "alias"];

    /// An engine's name of the block of a prompt that has so many tokens and ends there.
    fn name(prompt: &[u32], end: usize, block_tokens: usize) -> u64 {
        let mixed = |all: u64, token: &u32| (all ^ u64::from(*token)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        prompt[..end].iter().fold(block_tokens as u64, mixed)
    }

    /// Some blocks of a prompt. One block may be shorter than the others, as where an engine tells of half a page.
    fn stored(random: &mut fastrand::Rng, prompt: &[u32]) -> StoredBlocks {
        let block_tokens = if random.u8(0..8) == 0 { random.usize(1..=8) } else { 4 };
        let from = random.usize(0..=4) * 4;
        let blocks = random.usize(1..=3).min((prompt.len() - from) / block_tokens);
        let ends = (1..=blocks).map(|nth| from + nth * block_tokens);
        StoredBlocks {
            parent: (from > 0).then(|| name(prompt, from, 4)),
            plain: blocks,
            hashes: ends.map(|end| name(prompt, end, block_tokens)).collect(),
            tokens: prompt[from..from + blocks * block_tokens].to_vec(),
            block_tokens,
            ..StoredBlocks::default()
        }
    }

    /// A worker's only rank beside the index, and what of it is held.
    struct Rig {
        index: Arc<PrefixIndex>,
        chains: RankChains,
        worker: IndexedWorker,
        others: OtherHolders,
        log: FeedLog,
        /// What the engine holds, by name: the prompt up to there, and where in it the block begins.
        held: BTreeMap<u64, (Vec<u32>, usize)>,
        /// Prompts up to the blocks that follow nothing but blocks that were held all the time since.
        believed: BTreeSet<Vec<u32>>,
    }

    impl Rig {
        fn new() -> Self {
            let index = Arc::new(PrefixIndex::new(1 << 24));
            let names = CacheNames { models: MODELS.map(str::to_owned).to_vec(), adapter_is_model: true };
            let chains = RankChains::new(Arc::new(names), BLOCKS, 1000, &index);
            let (worker, log) = (index.enter(5).unwrap(), FeedLog::default());
            let (held, believed) = (BTreeMap::new(), BTreeSet::new());
            Self { index, chains, worker, others: OtherHolders::new(), log, held, believed }
        }

        fn take(&mut self, event: CacheEvent) {
            let mut held = HeldBlocksChange::new(&self.index, self.worker, &mut self.others);
            self.chains.take(event, &mut held, true, &self.log);
        }

        fn store(&mut self, prompt: &[u32], blocks: StoredBlocks) {
            let mut end = if blocks.parent.is_none() { 0 } else { self.start_of(prompt, &blocks) };
            let follows = end == 0 || self.believed.contains(&prompt[..end]);
            for hash in &blocks.hashes {
                let begin = end;
                end += blocks.block_tokens;
                self.held.insert(*hash, (prompt[..end].to_vec(), begin));
                if follows {
                    self.believed.insert(prompt[..end].to_vec());
                }
            }
            self.take(CacheEvent::Stored(Box::new(blocks)));
        }

        fn start_of(&self, prompt: &[u32], blocks: &StoredBlocks) -> usize {
            (0..=prompt.len()).find(|end| Some(name(prompt, *end, 4)) == blocks.parent).unwrap()
        }

        fn remove(&mut self, hashes: Vec<u64>) {
            for hash in &hashes {
                if let Some((gone, _)) = self.held.remove(hash) {
                    self.believed.retain(|prompt| !prompt.starts_with(&gone));
                }
            }
            self.take(CacheEvent::Removed(hashes, None));
        }

        fn clear(&mut self) {
            (self.held, self.believed) = (BTreeMap::new(), BTreeSet::new());
            self.take(CacheEvent::Cleared);
        }

        /// Blocks of a prompt that the index believes to be held.
        fn matched(&self, model: &str, prompt: &[u32]) -> usize {
            let mut hasher = PrefixHasher::new(BLOCKS, 0);
            prompt.iter().for_each(|token| hasher.token(*token));
            let chain = hasher.finish(&PrefixSeed { model, adapter: "", salt: "", preamble: 0 });
            usize::try_from(self.index.matched(self.worker, &chain, 1.0)).unwrap()
        }

        /// As many as are, whatever the engine gave up meanwhile before some of them.
        fn most(&self, prompt: &[u32]) -> usize {
            let has = |end: usize| {
                let mut held = self.held.values();
                held.any(|(held, begin)| *begin < end && held.get(..end) == prompt.get(..end))
            };
            (1..=prompt.len() / 4).take_while(|nth| has(nth * 4)).count()
        }
    }

    /// Random changes; `mixes_sizes` if blocks are not always as large as those of the index.
    fn compare(seed: u64, mixes_sizes: bool) {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut rig = Rig::new();
        let mut prompts: Vec<Vec<u32>> = vec![(0..24).collect()];
        for _ in 0..7 {
            let mut prompt = prompts[random.usize(0..prompts.len())].clone();
            let from = random.usize(0..24);
            prompt[from..].iter_mut().for_each(|token| *token += 100);
            prompts.push(prompt);
        }
        let mut matches = 0;
        for round in 0..300 {
            let prompt = &prompts[random.usize(0..prompts.len())];
            let mut blocks = stored(&mut random, prompt);
            while !mixes_sizes && blocks.block_tokens != 4 {
                blocks = stored(&mut random, prompt);
            }
            match random.u8(0..40) {
                0 => rig.clear(),
                1..14 => rig.remove(blocks.hashes.into_iter().rev().collect()),
                _ => rig.store(prompt, blocks),
            }
            for (model, prompt) in MODELS.iter().flat_map(|model| prompts.iter().map(move |p| (model, p))) {
                let matched = rig.matched(model, prompt);
                let believed = (1..=6).take_while(|nth| rig.believed.contains(&prompt[..nth * 4])).count();
                assert!(matched <= rig.most(prompt), "{matched}, round {round}, seed {seed}");
                assert!(
                    mixes_sizes || matched == believed,
                    "{matched} {believed}, round {round}, seed {seed}"
                );
                matches += matched;
            }
        }
        assert!(matches > 1000 && rig.log.events(EventKind::Refused) == 0, "{matches}");
        rig.remove(rig.held.keys().copied().collect());
        assert_eq!((rig.index.stats().reported_blocks, rig.others.len()), (0, 0));
    }

    #[test]
    fn index_believes_exactly_what_an_engine_holds_whose_blocks_are_as_large() {
        (0..40).for_each(|seed| compare(seed, false));
    }

    #[test]
    fn index_never_believes_more_than_an_engine_holds_whose_blocks_are_of_all_sizes() {
        (100..140).for_each(|seed| compare(seed, true));
    }
}
