//! Idle instances: per-thread slots before one lock-free queue.

use std::sync::atomic::{Ordering, compiler_fence, fence};

use crossbeam::atomic::AtomicCell;
use crossbeam::queue::ArrayQueue;

use crate::types::shard::Sharded;

/// Things that nobody uses now.
///
/// # Concurrency
///
/// Each slot and the queue are lock-free. Something that moves from a slot to the queue is in neither
/// for a moment: who looks then finds less than there is, and is served by whoever moves it.
pub(crate) struct Idle<T> {
    slots: Sharded<AtomicCell<Option<Box<T>>>>,
    queue: ArrayQueue<Box<T>>,
}

impl<T> Idle<T> {
    /// Room for that many, and for one in each slot.
    pub(crate) fn new(most: usize) -> Self {
        Self { slots: Sharded::new(|| AtomicCell::new(None)), queue: ArrayQueue::new(most.max(1)) }
    }

    /// Puts something into this thread's slot, and what was there into the queue. Gives back what has
    /// no room.
    #[inline]
    pub(crate) fn put(&self, thing: Box<T>) -> Option<Box<T>> {
        let before = self.slots.local().swap(Some(thing))?;
        self.queue.push(before).err()
    }

    /// This thread's, else one from the queue, else another thread's.
    #[inline]
    pub(crate) fn take(&self) -> Option<Box<T>> {
        self.slots.local().take().or_else(|| self.queue.pop()).or_else(|| self.steal())
    }

    /// What another thread left in its slot.
    #[cold]
    fn steal(&self) -> Option<Box<T>> {
        self.slots.iter().find_map(AtomicCell::take)
    }
}

/// Keeps a read after an atomic swap from moving before it.
#[inline]
pub(crate) fn full_barrier() {
    // On x86-64 the swap is an `xchg`, which nothing passes; only the compiler must be told.
    if cfg!(target_arch = "x86_64") {
        compiler_fence(Ordering::SeqCst);
    } else {
        fence(Ordering::SeqCst);
    }
}
