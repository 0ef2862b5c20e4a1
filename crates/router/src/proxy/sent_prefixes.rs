//! Prompts that were sent to workers, for the other routers of a fleet: a queue of a fixed size, which a task
//! empties.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crossbeam::queue::ArrayQueue;

use sglang_router_rs::core::{FleetWorker, Worker};

/// Prompts that wait at most.
const MAX_WAITING: usize = 256;

/// Blocks of a prompt that are told: what comes behind them is not.
const MAX_BLOCKS: usize = 1024;

/// Prompts that were sent and are not told yet.
///
/// # Concurrency
///
/// Neither takes a lock, and whoever puts a prompt there allocates nothing: places for prompts are made once, and go
/// round between two queues. A place is in one of them, or with whoever fills or reads it.
#[derive(Debug)]
pub(crate) struct SentPrefixes {
    free: ArrayQueue<PromptPlace>,
    waiting: ArrayQueue<PromptPlace>,
    dropped: AtomicU64,
}

/// Room for one prompt.
#[derive(Debug)]
struct PromptPlace {
    worker: Option<Arc<FleetWorker>>,
    blocks: Vec<u64>,
}

impl SentPrefixes {
    /// An empty one; it takes 2 MiB.
    pub(crate) fn new() -> Self {
        let free = ArrayQueue::new(MAX_WAITING);
        for _ in 0..MAX_WAITING {
            // It has room for all of them.
            let _ = free.push(PromptPlace { worker: None, blocks: Vec::with_capacity(MAX_BLOCKS) });
        }
        Self { free, waiting: ArrayQueue::new(MAX_WAITING), dropped: AtomicU64::new(0) }
    }

    /// A prompt with these blocks was sent to a worker. Dropped if too many wait.
    pub(crate) fn put(&self, worker: &Arc<FleetWorker>, blocks: &[u64]) {
        if blocks.is_empty() {
            return;
        }
        let Some(mut place) = self.free.pop() else {
            // Relaxed: only the sum matters.
            self.dropped.fetch_add(1, Ordering::Relaxed);
            return;
        };
        place.worker = Some(Arc::clone(worker));
        place.blocks.extend_from_slice(blocks.get(..MAX_BLOCKS).unwrap_or(blocks));
        // It has room for all places.
        let _ = self.waiting.push(place);
    }

    /// Gives the prompt that waits longest to `take`, by the worker's URL and its blocks.
    pub(crate) fn take<T>(&self, take: impl FnOnce(&str, &[u64]) -> T) -> Option<T> {
        let mut place = self.waiting.pop()?;
        let taken = place.worker.take().map(|worker| take(worker.url(), &place.blocks));
        place.blocks.clear();
        let _ = self.free.push(place);
        taken
    }

    /// How many had no room.
    pub(crate) fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sglang_router_rs::core::{Fleet, WorkerSpec};

    #[test]
    fn what_is_put_is_taken_in_order_and_what_has_no_room_is_counted() {
        let fleet = Fleet::new();
        let worker = fleet.add(WorkerSpec::new("http://w"), true).unwrap();
        let held = Arc::strong_count(&worker);
        let sent = SentPrefixes::new();
        sent.put(&worker, &[]);
        for round in 0..3 {
            for hash in 0..MAX_WAITING as u64 + 2 {
                sent.put(&worker, &[hash, round]);
            }
            for hash in 0..MAX_WAITING as u64 {
                let taken = sent.take(|url, blocks| (url.to_owned(), blocks.to_vec()));
                assert_eq!(taken, Some(("http://w".to_owned(), vec![hash, round])));
            }
            assert_eq!((sent.take(|_, _| ()), sent.dropped()), (None, 2 * (round + 1)));
        }
        sent.put(&worker, &[7; MAX_BLOCKS + 1]);
        assert_eq!(sent.take(|_, blocks| blocks.len()), Some(MAX_BLOCKS));
        assert_eq!(Arc::strong_count(&worker), held, "it keeps no worker");
    }
}
