//! The prefix cache: which blocks of prompts this worker has prefilled before.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasherDefault, Hasher};

use parking_lot::Mutex;

use crate::sim::prompt_reader::{PromptShape, TOKENS_PER_BLOCK};

/// What a worker knows of the prompts it has prefilled; nothing if its cache is switched off.
///
/// # Concurrency
/// One lock, held while the blocks of one request are gone through, never across an await.
#[derive(Debug)]
pub(crate) struct PromptCache(Option<Mutex<PrefixCache>>);

impl PromptCache {
    /// An empty cache of so many blocks; 0 switches it off.
    pub(crate) fn new(blocks: usize) -> Self {
        Self((blocks > 0).then(|| Mutex::new(PrefixCache::new(blocks))))
    }

    /// How many tokens of a request's prompts are cached. At least one token is always left to
    /// be computed: its logits are needed.
    pub(crate) fn cached_tokens(&self, prompts: &[PromptShape], prompt_tokens: u32) -> u32 {
        let Some(cache) = &self.0 else { return 0 };
        let mut cache = cache.lock();
        let blocks: usize = prompts.iter().map(|prompt| cache.lookup(&prompt.blocks)).sum();
        let tokens = u32::try_from(blocks.saturating_mul(TOKENS_PER_BLOCK)).unwrap_or(u32::MAX);
        tokens.min(prompt_tokens.saturating_sub(1))
    }

    /// Adds prompts that were prefilled.
    pub(crate) fn remember(&self, prompts: &[PromptShape]) {
        let Some(cache) = &self.0 else { return };
        let mut cache = cache.lock();
        prompts.iter().for_each(|prompt| cache.insert(&prompt.blocks));
    }

    /// Forgets everything.
    pub(crate) fn clear(&self) {
        if let Some(cache) = &self.0 {
            cache.lock().clear();
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
    fn insert(&mut self, blocks: &[u64]) {
        let (kept, _) = blocks.split_at(blocks.len().min(self.capacity));
        self.touch_all(kept);
        while self.touched.len() > self.capacity {
            self.evict_one();
        }
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

    fn evict_one(&mut self) {
        while let Some((block, at)) = self.log.pop_front() {
            if self.touched.get(&block) == Some(&at) {
                self.touched.remove(&block);
                return;
            }
        }
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
}
