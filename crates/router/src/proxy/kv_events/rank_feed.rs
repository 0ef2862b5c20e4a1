//! Takes the batches of one rank: off the threads that serve, where that is long.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use parking_lot::Mutex;

use crate::proxy::endpoint::Endpoint;
use crate::proxy::feed_log::{BatchEnd, EventKind};
use crate::proxy::kv_events::cache_event::read_batch;
use crate::proxy::kv_events::held_blocks_change::{HeldBlocksChange, OtherHolders};
use crate::proxy::kv_events::rank_chains::RankChains;
use crate::proxy::roster::Roster;
use sglang_router_rs::prefix_index::IndexedWorker;

/// Batches of more bytes are worked off on a thread that may be busy for long.
const SHORT_BATCH_BYTES: usize = 32 << 10;

/// What the ranks of a worker have in common.
///
/// # Concurrency
///
/// Ranks take the lock of `others` for a batch each.
#[derive(Debug)]
pub(crate) struct WorkerFeed {
    pub(crate) roster: Arc<Roster>,
    pub(crate) endpoint: Arc<Endpoint>,
    /// The worker in the index.
    pub(crate) worker: IndexedWorker,
    /// How many ranks there are.
    pub(crate) ranks: usize,
    pub(crate) others: Mutex<OtherHolders>,
    /// Set when nothing more is to be said of the worker.
    pub(crate) over: AtomicBool,
}

impl WorkerFeed {
    /// From now on its ranks say nothing more, also those that are at it.
    pub(crate) fn end(&self) {
        // Relaxed: the lock orders it for who is at it; who begins later sees it.
        self.over.store(true, Ordering::Relaxed);
        drop(self.others.lock());
    }

    fn is_over(&self) -> bool {
        // Relaxed: see `end`.
        self.over.load(Ordering::Relaxed)
    }
}

/// One rank.
#[derive(Debug)]
pub(crate) struct RankFeed {
    worker: Arc<WorkerFeed>,
    /// Its number.
    rank: u32,
    /// `None` only while a batch is worked off elsewhere, and for ever if that was broken off.
    chains: Option<RankChains>,
}

impl RankFeed {
    /// A rank that holds nothing.
    pub(crate) fn new(worker: Arc<WorkerFeed>, rank: u32, chains: RankChains) -> Self {
        Self { worker, rank, chains: Some(chains) }
    }

    /// What its worker's ranks have in common.
    pub(crate) fn worker(&self) -> &WorkerFeed {
        &self.worker
    }

    /// Takes a batch.
    ///
    /// # Cancel safety
    ///
    /// Not safe: dropped before it returns, the rank is of no use any more.
    pub(crate) async fn take(&mut self, payload: &Bytes, end: BatchEnd) {
        let Some(mut chains) = self.chains.take() else { return };
        let (worker, rank) = (Arc::clone(&self.worker), self.rank);
        if payload.len() <= SHORT_BATCH_BYTES {
            take(&mut chains, &worker, rank, payload, end);
            self.chains = Some(chains);
            return;
        }
        let payload = payload.clone();
        let taken = tokio::task::spawn_blocking(move || {
            take(&mut chains, &worker, rank, &payload, end);
            chains
        });
        // It fails at the end of the runtime only.
        self.chains = taken.await.ok();
    }

    /// What the rank says from now on was missed before, or no longer. Where a worker has several ranks, what
    /// was sent to it is not forgotten for what one of them says.
    pub(crate) fn replays(&self, is_replaying: bool) {
        if let Some(index) = self.worker.roster.prefix_index() {
            index.replays(self.worker.worker, is_replaying);
        }
    }

    /// Forgets all that the rank said.
    pub(crate) fn forget(&mut self) {
        let Some((index, chains)) = self.worker.roster.prefix_index().zip(self.chains.as_mut()) else {
            return;
        };
        let mut others = self.worker.others.lock();
        if self.worker.is_over() {
            return;
        }
        let mut held = HeldBlocksChange::new(&index, self.worker.worker, &mut others);
        chains.clear(&mut held, self.worker.ranks == 1);
        self.worker.endpoint.feed().forgot();
    }
}

fn take(chains: &mut RankChains, worker: &WorkerFeed, rank: u32, payload: &[u8], end: BatchEnd) {
    let Some(index) = worker.roster.prefix_index() else { return };
    let log = worker.endpoint.feed();
    let mut others = worker.others.lock();
    if worker.is_over() {
        return;
    }
    let mut held = HeldBlocksChange::new(&index, worker.worker, &mut others);
    let is_only = worker.ranks == 1;
    match read_batch(payload, |event| {
        if !worker.is_over() {
            chains.take(event, &mut held, is_only, log);
        }
    }) {
        Ok(named) => {
            log.batch(end, 1);
            // It has been taken all the same: a socket is one rank's, and a name is only said.
            if let Some(named) = named.filter(|named| !named.is(rank)) {
                log.event(EventKind::Odd);
                tracing::debug!(worker = %worker.endpoint.url(), rank, ?named, "a batch of events names another rank");
            }
        }
        Err(odd) => {
            log.batch(BatchEnd::Odd, 1);
            log.event(EventKind::Odd);
            tracing::debug!(worker = %worker.endpoint.url(), ?odd, bytes = payload.len(), "a batch of events is odd");
        }
    }
}
