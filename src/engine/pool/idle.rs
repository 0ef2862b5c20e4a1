//! Idle instances: per-thread slots before one lock-free queue.

use std::sync::atomic::{Ordering, compiler_fence, fence};

use crossbeam::atomic::AtomicCell;
use crossbeam::queue::ArrayQueue;

use crate::types::shard::Sharded;

/// Things that nobody uses at present.
///
/// # Concurrency
///
/// Each slot and the queue are lock-free. Something that moves from a slot to the queue is in neither
/// for a moment: whoever looks then finds too little, and is served by whoever moves it.
pub(crate) struct Idle<T> {
    slots: Sharded<AtomicCell<Option<Box<T>>>>,
    queue: ArrayQueue<Box<T>>,
}

impl<T> Idle<T> {
    /// Room for that many in the queue, and for one in each slot.
    pub(crate) fn new(most: usize) -> Self {
        Self { slots: Sharded::new(|| AtomicCell::new(None)), queue: ArrayQueue::new(most.max(1)) }
    }

    /// Puts something into this thread's slot, and the slot's former content into the queue. Returns
    /// what has no room.
    #[inline]
    pub(crate) fn put(&self, thing: Box<T>) -> Option<Box<T>> {
        let before = self.slots.local().swap(Some(thing))?;
        self.queue.push(before).err()
    }

    /// Takes this thread's, else one from the queue, else another thread's.
    #[inline]
    pub(crate) fn take(&self) -> Option<Box<T>> {
        self.slots.local().take().or_else(|| self.queue.pop()).or_else(|| self.steal())
    }

    /// Takes what another thread has in its slot.
    #[cold]
    fn steal(&self) -> Option<Box<T>> {
        self.slots.iter().find_map(AtomicCell::take)
    }
}

/// Keeps a read after an atomic swap from moving before it.
#[inline]
pub(crate) fn full_barrier() {
    // On x86-64 the swap is an `xchg`, which no access passes; only the compiler must be told.
    if cfg!(target_arch = "x86_64") {
        compiler_fence(Ordering::SeqCst);
    } else {
        fence(Ordering::SeqCst);
    }
}
