//! The prefix cache: which blocks of prompts this worker has prefilled before.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;

use parking_lot::Mutex;

use crate::sim::kv_feed::KvFeed;
use crate::sim::kv_wire::CacheChange;
use crate::sim::prompt_reader::PromptShape;

/// What a worker knows of the prompts it has prefilled; nothing if its cache is switched off.
///
/// # Concurrency
/// One lock, held while the blocks of one request are gone through, never across an await.
#[derive(Debug)]
pub(crate) struct PromptCache {
    held: Option<Mutex<PrefixCache>>,
    block_tokens: usize,
    /// A prompt that is held whole is computed from the start of its last block on, as engines do it that
    /// keep blocks whole; otherwise from its last token on.
    whole_blocks: bool,
    /// Who is told of changes, in their order.
    feed: Option<Arc<KvFeed>>,
}

impl PromptCache {
    /// An empty cache of so many blocks; 0 switches it off.
    pub(crate) fn new(
        blocks: usize,
        block_tokens: usize,
        whole_blocks: bool,
        feed: Option<Arc<KvFeed>>,
    ) -> Self {
        let held = (blocks > 0).then(|| Mutex::new(PrefixCache::new(blocks)));
        Self { held, block_tokens, whole_blocks, feed }
    }

    /// How many tokens of a request's prompts are cached. At least one token is always left to
    /// be computed: its logits are needed.
    pub(crate) fn cached_tokens(&self, prompts: &[PromptShape], prompt_tokens: u32) -> u32 {
        let Some(cache) = &self.held else { return 0 };
        let mut cache = cache.lock();
        let blocks: usize = prompts.iter().map(|prompt| cache.lookup(&prompt.blocks)).sum();
        let tokens = u32::try_from(blocks.saturating_mul(self.block_tokens)).unwrap_or(u32::MAX);
        let most = prompt_tokens.saturating_sub(1);
        let block = u32::try_from(self.block_tokens).unwrap_or(u32::MAX).max(1);
        tokens.min(if self.whole_blocks { most - most % block } else { most })
    }

    /// Adds prompts that were prefilled.
    pub(crate) fn remember(&self, prompts: &[PromptShape]) {
        let Some(cache) = &self.held else { return };
        let mut cache = cache.lock();
        for prompt in prompts {
            let known = prompt.blocks.iter().take_while(|block| cache.holds(block)).count();
            let removed = cache.insert(&prompt.blocks);
            if let Some(feed) = &self.feed {
                // While the lock is held: changes are told in the order in which they are made.
                feed.publish(&self.changes(prompt, known, cache.capacity, removed));
            }
        }
    }

    /// What an insertion changed, as an engine would tell it: it makes room before it stores.
    fn changes(
        &self,
        prompt: &PromptShape,
        known: usize,
        capacity: usize,
        removed: Vec<u64>,
    ) -> Vec<CacheChange> {
        let mut changes = Vec::new();
        if !removed.is_empty() {
            changes.push(CacheChange::Removed(removed));
        }
        let hashes: Vec<u64> = prompt.blocks.iter().take(capacity).skip(known).copied().collect();
        if !hashes.is_empty() {
            let from = known * self.block_tokens;
            let tokens = prompt.ids.iter().skip(from).take(hashes.len() * self.block_tokens);
            let parent = known.checked_sub(1).and_then(|last| prompt.blocks.get(last)).copied();
            changes.push(CacheChange::Stored { parent, tokens: tokens.copied().collect(), hashes });
        }
        changes
    }

    /// Forgets everything.
    pub(crate) fn clear(&self) {
        if let Some(cache) = &self.held {
            let mut cache = cache.lock();
            cache.clear();
            if let Some(feed) = &self.feed {
                feed.publish(&[CacheChange::Cleared]);
            }
        }
    }
}

/// A least-recently-used set of block hashes.
///
/// Recency is kept as a log of touches: a touch appends, eviction takes from the front and skips
/// entries that a later touch made stale. That is exact LRU in amortised constant time without a
/// linked list.
#[derive(Debug)]
struct PrefixCache {
    capacity: usize,
    /// Block → number of its latest touch.
    touched: HashMap<u64, u64, BuildHasherDefault<BlockHasher>>,
    log: VecDeque<(u64, u64)>,
    clock: u64,
}

impl PrefixCache {
    /// An empty cache of `capacity` blocks, at least 1.
    fn new(capacity: usize) -> Self {
        Self { capacity: capacity.max(1), touched: HashMap::default(), log: VecDeque::new(), clock: 0 }
    }

    /// How many leading blocks of a prompt are cached. They count as used now.
    fn lookup(&mut self, blocks: &[u64]) -> usize {
        let known = blocks.iter().take_while(|block| self.touched.contains_key(block)).count();
        let (known_blocks, _) = blocks.split_at(known);
        self.touch_all(known_blocks);
        known
    }

    /// Adds the blocks of a prompt; the least recently used ones make room. Of a prompt longer
    /// than the cache, only the start is kept: a later block is useless without it.
    /// Returns those that did.
    fn insert(&mut self, blocks: &[u64]) -> Vec<u64> {
        let (kept, _) = blocks.split_at(blocks.len().min(self.capacity));
        self.touch_all(kept);
        let mut evicted = Vec::new();
        while self.touched.len() > self.capacity {
            evicted.extend(self.evict_one());
        }
        evicted
    }

    fn holds(&self, block: &u64) -> bool {
        self.touched.contains_key(block)
    }

    /// Forgets everything.
    fn clear(&mut self) {
        self.touched.clear();
        self.log.clear();
    }

    /// Blocks held.
    #[cfg(test)]
    fn len(&self) -> usize {
        self.touched.len()
    }

    /// Touches the last block first: the start of a prefix is then more recent than its end, and
    /// eviction shortens prefixes from behind.
    fn touch_all(&mut self, blocks: &[u64]) {
        for block in blocks.iter().rev() {
            self.clock += 1;
            self.touched.insert(*block, self.clock);
            self.log.push_back((*block, self.clock));
        }
        self.compact();
    }

    fn evict_one(&mut self) -> Option<u64> {
        while let Some((block, at)) = self.log.pop_front() {
            if self.touched.get(&block) == Some(&at) {
                self.touched.remove(&block);
                return Some(block);
            }
        }
        None
    }

    /// Drops stale log entries once they outnumber the live ones by far.
    fn compact(&mut self) {
        if self.log.len() > self.touched.len().saturating_mul(4).saturating_add(1024) {
            let touched = &self.touched;
            self.log.retain(|(block, at)| touched.get(block) == Some(at));
        }
    }
}

/// Passes block hashes through: they are mixed already.
#[derive(Default)]
struct BlockHasher(u64);

impl Hasher for BlockHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        // Only u64 keys are hashed here; this is the trait's required method.
        for byte in bytes {
            self.0 = (self.0 << 8) ^ u64::from(*byte);
        }
    }

    fn write_u64(&mut self, value: u64) {
        self.0 = value;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lookup_counts_leading_blocks_only() {
        let mut cache = PrefixCache::new(10);
        assert_eq!(cache.lookup(&[1, 2, 3]), 0);
        cache.insert(&[1, 2, 3]);
        assert_eq!(cache.lookup(&[1, 2, 3, 4]), 3);
        assert_eq!(cache.lookup(&[1, 9, 3]), 1);
        assert_eq!(cache.lookup(&[9, 2, 3]), 0);
    }

    #[test]
    fn insert_evicts_the_least_recently_used_prompt_from_behind() {
        let mut cache = PrefixCache::new(4);
        cache.insert(&[1, 2]);
        cache.insert(&[3, 4]);
        assert_eq!(cache.lookup(&[1, 2]), 2);
        cache.insert(&[5]);
        assert_eq!(cache.len(), 4);
        assert_eq!(cache.lookup(&[3, 4]), 1);
        assert_eq!(cache.lookup(&[1, 2]), 2);
    }

    #[test]
    fn insert_keeps_the_start_of_a_prompt_longer_than_the_cache() {
        let mut cache = PrefixCache::new(2);
        cache.insert(&[1, 2, 3, 4]);
        assert_eq!(cache.lookup(&[1, 2, 3, 4]), 2);
    }

    #[test]
    fn log_stays_bounded_under_repeated_use() {
        let mut cache = PrefixCache::new(8);
        for _ in 0..10_000 {
            cache.lookup(&[1, 2, 3]);
            cache.insert(&[1, 2, 3]);
        }
        assert_eq!(cache.len(), 3);
        assert!(cache.log.len() < 1100, "{} entries", cache.log.len());
    }

    #[test]
    fn clear_forgets_everything() {
        let mut cache = PrefixCache::new(8);
        cache.insert(&[1, 2]);
        cache.clear();
        assert_eq!(cache.lookup(&[1, 2]), 0);
    }

    #[test]
    fn prompt_that_is_held_whole_is_computed_from_its_last_token_or_its_last_block() {
        let prompt = PromptShape { tokens: 4, blocks: vec![1, 2], ..PromptShape::default() };
        for (whole_blocks, cached) in [(false, 3), (true, 2)] {
            let cache = PromptCache::new(8, 2, whole_blocks, None);
            cache.remember(std::slice::from_ref(&prompt));
            assert_eq!(cache.cached_tokens(std::slice::from_ref(&prompt), 4), cached);
        }
    }

    #[test]
    fn changes_tell_what_made_room_and_what_is_new_of_a_prompt() {
        let cache = PromptCache::new(4, 2, true, None);
        let prompt =
            PromptShape { tokens: 6, blocks: vec![1, 2, 3], digest: 0, ids: vec![10, 11, 20, 21, 30, 31] };
        let stored = |parent, hashes: &[u64], tokens: &[u32]| CacheChange::Stored {
            parent,
            hashes: hashes.to_vec(),
            tokens: tokens.to_vec(),
        };
        let all = cache.changes(&prompt, 0, 4, Vec::new());
        assert_eq!(all, [stored(None, &[1, 2, 3], &[10, 11, 20, 21, 30, 31])]);
        let end = cache.changes(&prompt, 2, 4, vec![9]);
        assert_eq!(end, [CacheChange::Removed(vec![9]), stored(Some(2), &[3], &[30, 31])]);
        assert!(cache.changes(&prompt, 3, 4, Vec::new()).is_empty());
        // What the cache has no room for is not told.
        assert_eq!(cache.changes(&prompt, 0, 1, Vec::new()), [stored(None, &[1], &[10, 11])]);
    }
}
