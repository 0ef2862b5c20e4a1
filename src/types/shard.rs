//! Per-thread shards, so that counting does not make cores share cache lines.

use std::cell::Cell;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::available_parallelism;

use crossbeam::utils::CachePadded;

thread_local! {
    static THREAD_NUMBER: Cell<usize> = const { Cell::new(usize::MAX) };
}

/// A small number that stays with the calling thread; the first thread that asks gets 0.
#[inline]
pub(crate) fn thread_number() -> usize {
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
/// There are four shards for each core (at least 8, at most 256, a power of two), and each belongs
/// to one thread. Threads beyond that share a quarter as many more, so `T` must be safe to share; it
/// is merely unlikely to be contended.
#[derive(Debug)]
pub struct Sharded<T> {
    shards: Box<[CachePadded<T>]>,
    /// How many of them belong to one thread.
    owned: usize,
}

/// The calling thread's shard.
#[derive(Debug)]
pub struct Local<'a, T> {
    /// The shard.
    pub shard: &'a T,
    /// True if no other thread has it as its own: others may read it, but this one alone writes.
    pub is_own: bool,
}

impl<T> Sharded<T> {
    /// Makes every shard with `make`.
    pub fn new(mut make: impl FnMut() -> T) -> Self {
        let owned = shard_count();
        Self { shards: (0..owned + owned / 4).map(|_| CachePadded::new(make())).collect(), owned }
    }

    /// The calling thread's shard.
    #[inline]
    pub fn local(&self) -> &T {
        self.mine().shard
    }

    /// The calling thread's shard, and whether no other thread uses it.
    #[inline]
    pub fn mine(&self) -> Local<'_, T> {
        let number = thread_number();
        let is_own = number < self.owned;
        let index = if is_own { number } else { self.owned + (number & (self.owned / 4 - 1)) };
        #[expect(
            clippy::indexing_slicing,
            reason = "below the number of own shards, or of shared ones above"
        )]
        Local { shard: &self.shards[index], is_own }
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
    // Asked once: the system reads files for it, and an instance that is warmed makes shards.
    static COUNT: OnceLock<usize> = OnceLock::new();
    *COUNT.get_or_init(|| {
        let cores = available_parallelism().map_or(2, std::num::NonZero::get);
        (cores * 4).next_power_of_two().clamp(8, 256)
    })
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
        assert!(shard_count().is_power_of_two());
    }

    #[test]
    fn shard_of_a_thread_is_its_own_until_there_are_more_threads_than_shards() {
        let sharded = Sharded::<std::sync::atomic::AtomicU64>::default();
        let mut own = std::collections::HashSet::new();
        for _ in 0..sharded.count() * 2 {
            // One after the other: a thread's number is never given to another.
            let found = std::thread::scope(|scope| {
                let look = || {
                    let local = sharded.mine();
                    (std::ptr::from_ref(local.shard) as usize, local.is_own)
                };
                scope.spawn(look).join().unwrap()
            });
            if found.1 {
                assert!(own.insert(found.0), "another thread has it");
            } else {
                assert!(!own.contains(&found.0), "an own shard is shared");
            }
        }
        assert!(own.len() <= sharded.owned);
    }
}
