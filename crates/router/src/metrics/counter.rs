//! Counters for the request path.

use std::sync::atomic::{AtomicU64, Ordering};

use sglang_router_rs::types::Sharded;

/// A fixed number of counters, addressed by position.
///
/// # Concurrency
///
/// A thread adds to its own shard; reading sums all of them, and may miss additions that happen
/// meanwhile.
#[derive(Debug)]
pub(crate) struct CounterSet {
    shards: Sharded<Box<[AtomicU64]>>,
}

impl CounterSet {
    /// `len` counters at zero.
    pub(crate) fn new(len: usize) -> Self {
        Self { shards: Sharded::new(|| (0..len).map(|_| AtomicU64::new(0)).collect()) }
    }

    /// Adds one to the counter at `position`; nothing happens beyond the end.
    #[inline]
    pub(crate) fn increment(&self, position: usize) {
        if let Some(counter) = self.shards.local().get(position) {
            // Relaxed: only the sum matters.
            counter.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// How often the counter at `position` was incremented.
    pub(crate) fn total(&self, position: usize) -> u64 {
        // Relaxed: see `increment`.
        self.shards.iter().filter_map(|shard| shard.get(position)).map(|c| c.load(Ordering::Relaxed)).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn total_is_the_sum_over_threads() {
        let counters = CounterSet::new(2);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..100).for_each(|_| counters.increment(1)));
            }
        });
        assert_eq!((counters.total(0), counters.total(1)), (0, 400));
    }

    #[test]
    fn position_beyond_the_end_is_ignored() {
        let counters = CounterSet::new(1);
        counters.increment(1);
        assert_eq!((counters.total(0), counters.total(1)), (0, 0));
    }
}
