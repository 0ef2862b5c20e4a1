//! The indexes, each by the way of its own that is fastest.

use dynamo_kv_router::indexer::{KvIndexerInterface, SyncIndexer, ThreadPoolIndexer};
use dynamo_kv_router::protocols::{
    ExternalSequenceBlockHash, KvCacheEvent, KvCacheEventData, KvCacheRemoveData, KvCacheStoreData,
    KvCacheStoredBlockData, LocalBlockHash, RouterEvent,
};
use kv_index::{ChainBlockMap, ChainIndex, ContentHash, SequenceHash, StoredBlock};

use crate::plan::{Plan, Step};
use crate::prefix_index::{ColumnOrder, IndexedWorker, PrefixIndex};

/// Tokens of a block.
const TOKENS: i32 = 16;

/// What a request asks with, in every index's own type.
#[derive(Debug, Default)]
pub(crate) struct Question {
    pub(crate) contents: Vec<ContentHash>,
    pub(crate) local: Vec<LocalBlockHash>,
    pub(crate) chain: Vec<u64>,
}

impl Question {
    /// The first `blocks` of a prompt.
    pub(crate) fn new(step: &Step, blocks: usize) -> Self {
        let contents = step.contents.get(..blocks).unwrap_or(&step.contents);
        Self {
            contents: contents.iter().map(|hash| ContentHash(*hash)).collect(),
            local: contents.iter().map(|hash| LocalBlockHash(*hash)).collect(),
            chain: step.chain.get(..blocks).unwrap_or(&step.chain).to_vec(),
        }
    }
}

/// An index.
pub(crate) trait Index: Sync {
    /// Writes each worker's match into the column, in tokens.
    fn find(&self, question: &Question, column: &mut [i32]);
}

/// The one who changes an index.
pub(crate) trait Change {
    /// Takes note of steps, and returns when that is done.
    fn apply(&mut self, steps: &[Step]);
}

fn set(column: &mut [i32], worker: usize, blocks: u32) {
    if let Some(cell) = column.get_mut(worker) {
        *cell = blocks as i32 * TOKENS;
    }
}

/// The column as it stands in a message.
#[expect(unsafe_code, reason = "a program that measures needs no crate for a cast")]
fn bytes_of(column: &mut [i32]) -> &mut [u8] {
    // SAFETY: every byte of a number is initialised, may have any value, and needs no alignment.
    unsafe { std::slice::from_raw_parts_mut(column.as_mut_ptr().cast(), size_of_val(column)) }
}

/// How this router's index hears of blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fed {
    /// By what is sent.
    Sent,
    /// By reports that name blocks by their hashes.
    Reported,
    /// By reports that name blocks as engines do, each worker in its own way.
    Named,
}

/// This router's.
#[derive(Debug)]
pub(crate) struct Ours {
    pub(crate) index: PrefixIndex,
    workers: Vec<IndexedWorker>,
    fed: Fed,
}

/// What a worker calls blocks.
fn names(worker: usize, hashes: &[u64]) -> Vec<u64> {
    let own = (worker as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    hashes.iter().map(|hash| (hash ^ own).wrapping_mul(0xbf58_476d_1ce4_e5b9)).collect()
}

impl Ours {
    pub(crate) fn new(plan: &Plan, fed: Fed) -> Self {
        let index = PrefixIndex::new(4 << 30);
        let workers: Vec<IndexedWorker> = (0..plan.workers).filter_map(|slot| index.enter(slot)).collect();
        for worker in &workers {
            index.set_capacity(*worker, plan.capacity as u32);
        }
        Self { index, workers, fed }
    }
}

impl Index for Ours {
    fn find(&self, question: &Question, column: &mut [i32]) {
        self.index.fill(&question.chain, TOKENS as f32, &ColumnOrder::Same, bytes_of(column));
    }
}

impl Change for &Ours {
    fn apply(&mut self, steps: &[Step]) {
        for step in steps {
            let Some(worker) = self.workers.get(step.worker).copied() else { continue };
            let after = step.held.checked_sub(1).and_then(|last| step.chain.get(last..step.held));
            let chain = step.chain.get(step.held..).unwrap_or_default();
            match self.fed {
                Fed::Sent => self.index.sent(worker, &step.chain),
                Fed::Reported => {
                    self.index.stored(worker, after.and_then(|after| after.first().copied()), chain);
                    self.index.removed(worker, &step.evicted);
                }
                Fed::Named => {
                    let names = |hashes| names(step.worker, hashes);
                    let after = after.and_then(|after| names(after).pop());
                    self.index.stored_as(worker, after, chain, &names(chain));
                    self.index.removed(worker, &names(&step.evicted));
                }
            }
        }
    }
}

/// That of smg.
pub(crate) struct Chains {
    index: ChainIndex,
    workers: Vec<u32>,
}

impl Chains {
    pub(crate) fn new(plan: &Plan) -> Self {
        let index = ChainIndex::with_max_workers(plan.workers);
        let workers = (0..plan.workers).filter_map(|worker| index.intern_worker(&format!("w{worker}")).ok());
        let workers = workers.collect();
        Self { index, workers }
    }
}

impl Index for Chains {
    fn find(&self, question: &Question, column: &mut [i32]) {
        column.fill(0);
        // Its numbers are those of the workers, because nobody comes or goes.
        let found = |worker, blocks| set(column, worker as usize, blocks);
        self.index.score_into(&question.contents, |content| content.0, false, found);
    }
}

/// It, and what whoever changes it must keep besides.
pub(crate) struct ChangeChains<'a> {
    chains: &'a Chains,
    maps: Vec<ChainBlockMap>,
}

impl<'a> ChangeChains<'a> {
    pub(crate) fn new(chains: &'a Chains) -> Self {
        Self { chains, maps: chains.workers.iter().map(|_| ChainBlockMap::new()).collect() }
    }
}

impl Change for ChangeChains<'_> {
    fn apply(&mut self, steps: &[Step]) {
        for step in steps {
            let Some(map) = self.maps.get_mut(step.worker) else { continue };
            let blocks = step.contents.iter().zip(&step.chain).skip(step.held);
            let stored = |(content, hash): (&u64, &u64)| StoredBlock {
                seq_hash: SequenceHash(*hash),
                content_hash: ContentHash(*content),
            };
            let blocks: Vec<StoredBlock> = blocks.map(stored).collect();
            let after = step.held.checked_sub(1).and_then(|last| step.chain.get(last));
            let after = after.map(|hash| SequenceHash(*hash));
            let worker = self.chains.workers[step.worker];
            let _ = self.chains.index.apply_stored(worker, &blocks, after, map);
            let evicted: Vec<SequenceHash> = step.evicted.iter().map(|hash| SequenceHash(*hash)).collect();
            self.chains.index.apply_removed(worker, &evicted, map);
        }
    }
}

/// One of Dynamo's: it is changed on a thread of its own.
pub(crate) struct Dynamo<T: SyncIndexer> {
    pool: ThreadPoolIndexer<T>,
    runtime: tokio::runtime::Runtime,
}

impl<T: SyncIndexer> Dynamo<T> {
    pub(crate) fn new(backend: T) -> anyhow::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().build()?;
        Ok(Self { pool: ThreadPoolIndexer::new(backend, 1, TOKENS as u32), runtime })
    }
}

impl<T: SyncIndexer> Index for Dynamo<T> {
    fn find(&self, question: &Question, column: &mut [i32]) {
        column.fill(0);
        for (worker, blocks) in &self.pool.backend().find_matches(&question.local, false).scores {
            set(column, worker.worker_id as usize, *blocks);
        }
    }
}

fn event(worker: usize, data: KvCacheEventData) -> RouterEvent {
    RouterEvent::new(worker as u64, KvCacheEvent { event_id: 0, data, dp_rank: 0 })
}

impl<T: SyncIndexer> Change for &Dynamo<T> {
    fn apply(&mut self, steps: &[Step]) {
        for step in steps {
            let blocks = step.contents.iter().zip(&step.chain).skip(step.held);
            let stored = |(content, hash): (&u64, &u64)| KvCacheStoredBlockData {
                block_hash: ExternalSequenceBlockHash(*hash),
                tokens_hash: LocalBlockHash(*content),
                mm_extra_info: None,
            };
            let blocks: Vec<KvCacheStoredBlockData> = blocks.map(stored).collect();
            let after = step.held.checked_sub(1).and_then(|last| step.chain.get(last));
            let parent_hash = after.map(|hash| ExternalSequenceBlockHash(*hash));
            let start_position = Some(step.held as u32);
            if !blocks.is_empty() {
                let data = KvCacheStoreData { parent_hash, start_position, blocks };
                let _ = self.pool.enqueue_event(event(step.worker, KvCacheEventData::Stored(data)));
            }
            if !step.evicted.is_empty() {
                let block_hashes = step.evicted.iter().map(|hash| ExternalSequenceBlockHash(*hash)).collect();
                let data = KvCacheRemoveData { block_hashes };
                let _ = self.pool.enqueue_event(event(step.worker, KvCacheEventData::Removed(data)));
            }
        }
        self.runtime.block_on(async {
            let _ = KvIndexerInterface::flush(&self.pool).await;
        });
    }
}
