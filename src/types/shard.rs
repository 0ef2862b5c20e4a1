//! Per-thread shards, so that counting does not make cores share cache lines.

use std::cell::Cell;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;
use std::thread::available_parallelism;

use crossbeam::utils::CachePadded;

thread_local! {
    static THREAD_NUMBER: Cell<usize> = const { Cell::new(usize::MAX) };
}

/// A small number that stays with the calling thread; the first thread that asks gets 0.
#[inline]
pub fn thread_number() -> usize {
    // Relaxed: only uniqueness matters.
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    THREAD_NUMBER.with(|number| {
        if number.get() == usize::MAX {
            number.set(NEXT.fetch_add(1, Ordering::Relaxed));
        }
        number.get()
    })
}

/// One `T` per shard; a thread always uses the same one.
///
/// # Concurrency
///
/// There are four shards for each core (at least 8, at most 256, a power of two). Two threads
/// may share a shard, so `T` must be safe to share; it is merely unlikely to be contended.
#[derive(Debug)]
pub struct Sharded<T> {
    shards: Box<[CachePadded<T>]>,
}

impl<T> Sharded<T> {
    /// Makes every shard with `make`.
    pub fn new(mut make: impl FnMut() -> T) -> Self {
        let count = shard_count();
        Self { shards: (0..count).map(|_| CachePadded::new(make())).collect() }
    }

    /// The calling thread's shard.
    #[inline]
    pub fn local(&self) -> &T {
        let index = thread_number() & (self.shards.len() - 1);
        #[expect(clippy::indexing_slicing, reason = "masked by a power of two that is the length")]
        &self.shards[index]
    }

    /// All shards, the calling thread's included.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.shards.iter().map(|shard| &**shard)
    }

    /// How many shards there are.
    pub fn count(&self) -> usize {
        self.shards.len()
    }
}

impl<T: Default> Default for Sharded<T> {
    fn default() -> Self {
        Self::new(T::default)
    }
}

fn shard_count() -> usize {
    let cores = available_parallelism().map_or(2, std::num::NonZero::get);
    (cores * 4).next_power_of_two().clamp(8, 256)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thread_number_stays_with_its_thread_and_differs_between_threads() {
        let here = thread_number();
        let there = std::thread::spawn(thread_number).join().unwrap();
        assert_eq!(here, thread_number());
        assert_ne!(here, there);
    }

    #[test]
    fn shard_count_is_a_power_of_two() {
        assert!(Sharded::<u8>::default().count().is_power_of_two());
    }
}
