//! The index as the rest of the router sees it.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use crossbeam::queue::ArrayQueue;
use parking_lot::Mutex;

use crate::prefix_index::cache_size::CacheSize;
use crate::prefix_index::column::{ColumnOrder, write};
use crate::prefix_index::index_writer::{HeldBlocks, IndexWriter};
use crate::prefix_index::named_run::NamedRun;
use crate::prefix_index::naming::ReportedBlock;
use crate::prefix_index::node::MAX_WORKERS;
use crate::prefix_index::shared::Shared;
use crate::prefix_index::walk::Walk;

/// Requests that wait to be noted at most.
const MAX_WAITING: usize = 1024;
/// How many of them are noted under one lock.
const BATCH: usize = 64;

/// The last owner of a slot, of all indexes of this process: a place in one of them means nothing in another.
static OWNERS: AtomicU32 = AtomicU32::new(0);

/// A worker as the index knows it: a slot, and which owner of it. What is said of an owner that is gone is
/// ignored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IndexedWorker {
    slot: u16,
    /// Never 0.
    generation: u32,
}

impl IndexedWorker {
    /// As one number, which is not 0.
    #[inline]
    pub fn to_bits(self) -> u64 {
        u64::from(self.slot) << 32 | u64::from(self.generation)
    }

    /// The worker with this number; `None` if it is that of none.
    #[inline]
    pub fn from_bits(bits: u64) -> Option<Self> {
        let (slot, generation) =
            (u16::try_from(bits >> 32).ok()?, u32::try_from(bits & u64::from(u32::MAX)).ok()?);
        (generation != 0).then_some(Self { slot, generation })
    }
}

/// What the index holds and takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct PrefixIndexStats {
    /// Bytes that are taken from the allocator, [`kept_beside`](Self::kept_beside) among them.
    pub bytes: usize,
    /// Bytes of these that those who feed it keep beside it, see [`KeptBeside`](crate::prefix_index::KeptBeside).
    pub kept_beside: usize,
    /// Blocks of all workers that they hold because of what was sent to them.
    pub sent_blocks: usize,
    /// Blocks of all workers that they report.
    pub reported_blocks: usize,
    /// Blocks that were forgotten because a worker, or the index, can hold no more.
    pub evicted_blocks: u64,
    /// Blocks that were not noted, for want of memory or because too many requests came at once.
    pub refused_blocks: u64,
}

/// Which workers hold which prefixes, for all workers, models and plugins.
///
/// A prefix is a chain of hashes, one for each block of it, each of which covers all blocks before it and
/// what the prompt is for (model, adapter, salt). The index knows two sources: what was sent to a worker,
/// until the worker can hold no more (least recently used first, the deepest first), and what the worker
/// reports. The larger counts.
///
/// # Concurrency
///
/// Readers take no lock, allocate nothing and write nothing that others read. Next to changes they may
/// find less than there is, and never more than was there at some moment while they looked. Changes take
/// one lock; what was sent waits for it in a queue, and whoever gets the lock notes all that waits.
#[derive(Debug)]
pub struct PrefixIndex {
    shared: Shared,
    writer: Mutex<IndexWriter>,
    waiting: ArrayQueue<Sent>,
    /// Blocks that had no place in the queue.
    missed: AtomicU64,
    /// Bytes that may be kept beside it.
    max_beside: usize,
}

/// A request that was sent and is not noted yet.
#[derive(Debug)]
struct Sent {
    worker: IndexedWorker,
    chain: Box<[u64]>,
    block_tokens: Option<f32>,
}

impl PrefixIndex {
    /// An empty index that takes at most about `max_bytes` (1 MiB at least). It takes memory as it needs it.
    pub fn new(max_bytes: usize) -> Self {
        let max_bytes = max_bytes.max(1 << 20);
        Self {
            shared: Shared::new(max_bytes),
            writer: Mutex::new(IndexWriter::new(max_bytes)),
            waiting: ArrayQueue::new(MAX_WAITING),
            missed: AtomicU64::new(0),
            max_beside: max_bytes / 2,
        }
    }

    /// The new owner of a slot, which starts with nothing. `None` for slots beyond what the index can
    /// name (32,768).
    pub fn enter(&self, slot: usize) -> Option<IndexedWorker> {
        let slot = u16::try_from(slot).ok().filter(|slot| usize::from(*slot) < MAX_WORKERS)?;
        let mut writer = self.writer.lock();
        writer.clear(&self.shared, slot);
        let held = writer.held(slot);
        // Relaxed: only that they differ matters.
        let generation = OWNERS.fetch_add(1, Ordering::Relaxed).wrapping_add(1).max(1);
        *held = HeldBlocks { generation, ..HeldBlocks::default() };
        Some(IndexedWorker { slot, generation })
    }

    /// Sets how many blocks a worker can hold.
    pub fn set_capacity(&self, worker: IndexedWorker, blocks: u32) {
        self.resize(worker, |size| size.set_blocks(blocks));
    }

    /// Sets how many tokens a worker can hold. Its blocks are taken to have `assumed` of them each, until
    /// [`sent_in_blocks`](Self::sent_in_blocks) tells better.
    pub fn set_token_capacity(&self, worker: IndexedWorker, tokens: u32, assumed: u32) {
        self.resize(worker, |size| size.set_tokens(tokens, assumed));
    }

    fn resize(&self, worker: IndexedWorker, resize: impl FnOnce(&mut CacheSize)) {
        self.change(worker, |writer| {
            let size = &mut writer.held(worker.slot).size;
            resize(size);
            let blocks = size.blocks();
            writer.shrink_to(&self.shared, worker.slot, blocks);
        });
    }

    /// Notes that a request with this chain was sent to a worker: soon, not at once. If the index is being
    /// changed, the caller does not wait.
    pub fn sent(&self, worker: IndexedWorker, chain: &[u64]) {
        self.sent_in_blocks(worker, chain, None);
    }

    /// The same, where it is known how many tokens a block of it has, on average: of a worker whose capacity is
    /// told in tokens, that decides how many blocks fit into it.
    pub fn sent_in_blocks(&self, worker: IndexedWorker, chain: &[u64], block_tokens: Option<f32>) {
        if chain.is_empty() {
            return;
        }
        if let Err(sent) = self.waiting.push(Sent { worker, chain: chain.into(), block_tokens }) {
            // Relaxed: a counter.
            self.missed.fetch_add(sent.chain.len() as u64, Ordering::Relaxed);
        }
        // Who finds the lock taken leaves its request to the owner, who looks again after letting it go.
        while !self.waiting.is_empty() {
            let Some(mut writer) = self.writer.try_lock() else { return };
            self.note(&mut writer);
        }
    }

    /// Notes that a worker reports blocks that it has now: those that follow the block `after`, or the
    /// first ones of a chain. Says how many of the first of them it had reported already; `None`, and nothing
    /// noted, if it did not report the block before them. The blocks have no other names than their hashes.
    pub fn stored(&self, worker: IndexedWorker, after: Option<u64>, chain: &[u64]) -> Option<usize> {
        self.change(worker, |writer| {
            writer.stored(&self.shared, worker.slot, after, NamedRun::unnamed(chain))
        })?
    }

    /// The same, where the worker has names of its own for its blocks, one for each: `after` is such a name. A block
    /// that it reports by another name than before has the new one; a name that it gives to another block than before
    /// is the new one's, and what had it is forgotten. Names take some 18 bytes a block.
    pub fn stored_as(
        &self,
        worker: IndexedWorker,
        after: Option<u64>,
        chain: &[u64],
        names: &[u64],
    ) -> Option<usize> {
        self.change(worker, |writer| {
            writer.stored(&self.shared, worker.slot, after, NamedRun::new(chain, names))
        })?
    }

    /// The block that a worker reported by this name, or without one by this hash.
    pub fn reported(&self, worker: IndexedWorker, name: u64) -> Option<ReportedBlock> {
        self.change(worker, |writer| writer.reported(&self.shared, worker.slot, name))?
    }

    /// How many blocks a worker reports.
    pub fn reported_blocks(&self, worker: IndexedWorker) -> usize {
        self.change(worker, |writer| writer.held(worker.slot).reported_blocks).unwrap_or_default()
    }

    /// Notes that a worker reports blocks that it has no longer, by their names, or without by their hashes. What
    /// follows them goes too.
    pub fn removed(&self, worker: IndexedWorker, names: &[u64]) {
        self.change(worker, |writer| writer.removed(&self.shared, worker.slot, names));
    }

    /// Forgets everything of a worker, at once: it started anew.
    pub fn cleared(&self, worker: IndexedWorker) {
        self.change(worker, |writer| writer.clear(&self.shared, worker.slot));
    }

    /// What a worker reports from now on is of a while ago, such as what it says again to who missed it; or no
    /// longer.
    pub fn replays(&self, worker: IndexedWorker, is_replaying: bool) {
        self.change(worker, |writer| writer.set_replaying(worker.slot, is_replaying));
    }

    /// A worker reports that its cache is empty: forgets everything of it, at once. While it
    /// [replays](Self::replays), what was sent there since that began stays: its cache was emptied before.
    pub fn reported_empty(&self, worker: IndexedWorker) {
        self.change(worker, |writer| writer.clear_as_reported(&self.shared, worker.slot));
    }

    /// The worker is gone: nothing of it stays, and what is said of it from now on is ignored.
    pub fn left(&self, worker: IndexedWorker) {
        self.change(worker, |writer| {
            writer.clear(&self.shared, worker.slot);
            *writer.held(worker.slot) = HeldBlocks::default();
        });
    }

    /// Writes into `column`, four little-endian bytes a worker, how many tokens of a prompt each worker is
    /// believed to hold. A block has `block_tokens`, of text on average.
    #[inline]
    pub fn fill(&self, chain: &[u64], block_tokens: f32, order: &ColumnOrder, column: &mut [u8]) {
        let column = column.as_chunks_mut().0;
        column.fill([0; 4]);
        self.walk(chain, |depth, place, bits| {
            write(column, order, place, bits, tokens(depth, block_tokens));
        });
    }

    /// How many tokens of a prompt one worker is believed to hold.
    pub fn matched(&self, worker: IndexedWorker, chain: &[u64], block_tokens: f32) -> i32 {
        let (own, bit) = (usize::from(worker.slot / 64), 1_u64 << (worker.slot % 64));
        let mut blocks = 0;
        self.walk(chain, |depth, place, bits| {
            if place == own && bits & bit != 0 {
                blocks = depth;
            }
        });
        tokens(blocks, block_tokens)
    }

    /// Somebody keeps so many bytes beside it instead of as many; false, and no change, if these are more and
    /// there is no room.
    pub(super) fn keep_beside(&self, before: usize, after: usize) -> bool {
        let kept = &self.shared.kept_beside;
        // Relaxed: a bound, and a gauge.
        let change = kept.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |all| {
            let all = all.saturating_sub(before).saturating_add(after);
            (after <= before || all <= self.max_beside).then_some(all)
        });
        change.is_ok()
    }

    /// What the index holds now.
    pub fn stats(&self) -> PrefixIndexStats {
        let mut writer = self.writer.lock();
        self.note(&mut writer);
        PrefixIndexStats {
            bytes: writer.bytes(&self.shared) - writer.names.spare_bytes(),
            // Relaxed: a gauge.
            kept_beside: self.shared.kept_beside.load(Ordering::Relaxed),
            sent_blocks: writer.workers.iter().map(|held| held.sent_blocks).sum(),
            reported_blocks: writer.workers.iter().map(|held| held.reported_blocks).sum(),
            evicted_blocks: writer.evicted,
            refused_blocks: writer.refused + self.missed.load(Ordering::Relaxed),
        }
    }

    #[inline]
    fn walk(&self, chain: &[u64], found: impl FnMut(usize, usize, u64)) {
        let heads = self.shared.heads.load();
        let walk = Walk { heads: &heads, nodes: &self.shared.nodes, words: &self.shared.words };
        walk.run(chain, found);
    }

    /// Changes something of a worker that still owns its slot, after all that was sent before.
    fn change<T>(&self, worker: IndexedWorker, change: impl FnOnce(&mut IndexWriter) -> T) -> Option<T> {
        let mut writer = self.writer.lock();
        self.note(&mut writer);
        let is_owner = writer.held(worker.slot).generation == worker.generation;
        is_owner.then(|| change(&mut writer))
    }

    fn note(&self, writer: &mut IndexWriter) {
        for _ in 0..BATCH {
            let Some(Sent { worker, chain, block_tokens }) = self.waiting.pop() else { return };
            if writer.held(worker.slot).generation == worker.generation {
                writer.sent(&self.shared, worker.slot, &chain, block_tokens);
            }
        }
    }
}

/// Whole tokens of so many blocks; the cast takes nonsense to the nearest number that there is.
#[inline]
#[expect(clippy::cast_possible_truncation, clippy::cast_precision_loss, reason = "see above")]
fn tokens(blocks: usize, block_tokens: f32) -> i32 {
    (blocks as f32 * block_tokens) as i32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workers_of_a_node_that_changed_since_it_was_looked_at_are_told_to_nobody() {
        // As many as fit into the node itself, and more.
        for workers in [3, 300] {
            let index = PrefixIndex::new(1 << 20);
            let ids: Vec<IndexedWorker> =
                (0..workers).map(|slot| index.enter(slot).expect("a slot")).collect();
            ids.iter().for_each(|id| index.sent(*id, &[1, 2, 3]));
            let heads = index.shared.heads.load();
            let walk = Walk { heads: &heads, nodes: &index.shared.nodes, words: &index.shared.words };
            let (node, view) = walk.next(&[1, 2, 3], 0).expect("it is there");
            let mut told = 0;
            assert!(walk.workers(node, &view, |_, bits| told += bits.count_ones() as usize));
            assert_eq!(told, workers);
            // Its run is cut in two: who holds the end of it does not hold what was looked at.
            index.sent(ids[0], &[1, 2, 4]);
            assert!(!walk.workers(node, &view, |_, _| panic!("of {workers} workers")));
        }
    }
}
