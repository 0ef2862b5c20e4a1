//! Histograms of durations for the request path.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use sglang_router_rs::types::Sharded;

/// Counts durations by upper bound.
///
/// # Concurrency
///
/// A thread adds to its own shard; a snapshot sums all of them, and may miss observations that
/// happen meanwhile.
#[derive(Debug)]
pub(crate) struct DurationHistogram {
    bounds: &'static [Duration],
    shards: Sharded<Cells>,
}

#[derive(Debug)]
struct Cells {
    /// One for each bound, and one for what is above them all.
    buckets: Box<[AtomicU64]>,
    sum_ns: AtomicU64,
}

/// What a histogram holds at one moment.
#[derive(Clone, Debug, PartialEq)]
pub struct HistogramSnapshot {
    /// Upper bound in seconds and the number of observations up to it that are above the bound
    /// before; the last bound is infinite.
    pub buckets: Vec<(f64, u64)>,
    /// All observations, in seconds.
    pub sum: f64,
    /// How many observations there are.
    pub count: u64,
}

impl HistogramSnapshot {
    /// What histograms with the same bounds hold together; empty if there are none.
    pub(crate) fn sum_of(all: impl Iterator<Item = Self>) -> Self {
        all.reduce(Self::plus).unwrap_or_else(|| Self { buckets: Vec::new(), sum: 0.0, count: 0 })
    }

    fn plus(mut self, other: Self) -> Self {
        for (here, there) in self.buckets.iter_mut().zip(&other.buckets) {
            here.1 += there.1;
        }
        Self { sum: self.sum + other.sum, count: self.count + other.count, buckets: self.buckets }
    }
}

impl DurationHistogram {
    /// Bounds for requests: 1 ms to 10 minutes.
    pub(crate) const REQUEST_BOUNDS: &'static [Duration] = &[
        Duration::from_millis(1),
        Duration::from_millis(2),
        Duration::from_millis(5),
        Duration::from_millis(10),
        Duration::from_millis(20),
        Duration::from_millis(50),
        Duration::from_millis(100),
        Duration::from_millis(200),
        Duration::from_millis(500),
        Duration::from_secs(1),
        Duration::from_secs(2),
        Duration::from_secs(5),
        Duration::from_secs(10),
        Duration::from_secs(20),
        Duration::from_secs(60),
        Duration::from_secs(120),
        Duration::from_secs(600),
    ];

    /// `bounds` in ascending order; a duration counts for the first bound that is not below it.
    pub(crate) fn new(bounds: &'static [Duration]) -> Self {
        let cells = || Cells {
            buckets: (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect(),
            sum_ns: AtomicU64::new(0),
        };
        Self { bounds, shards: Sharded::new(cells) }
    }

    /// Counts a duration.
    #[inline]
    pub(crate) fn observe(&self, duration: Duration) {
        let bucket = self.bounds.partition_point(|bound| *bound < duration);
        let cells = self.shards.local();
        let nanoseconds = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        if let Some(bucket) = cells.buckets.get(bucket) {
            // Relaxed: only the sums matter. A scrape between the two additions sees a mean that
            // is off by one observation.
            bucket.fetch_add(1, Ordering::Relaxed);
            cells.sum_ns.fetch_add(nanoseconds, Ordering::Relaxed);
        }
    }

    /// What was observed so far.
    pub(crate) fn snapshot(&self) -> HistogramSnapshot {
        let bounds = self.bounds.iter().map(Duration::as_secs_f64).chain(std::iter::once(f64::INFINITY));
        let count_at = |position: usize| -> u64 {
            // Relaxed: see `observe`.
            self.shards
                .iter()
                .filter_map(|cells| cells.buckets.get(position))
                .map(|c| c.load(Ordering::Relaxed))
                .sum()
        };
        let buckets: Vec<(f64, u64)> =
            bounds.enumerate().map(|(position, bound)| (bound, count_at(position))).collect();
        let sum_ns: u64 = self.shards.iter().map(|cells| cells.sum_ns.load(Ordering::Relaxed)).sum();
        let count = buckets.iter().map(|(_, count)| count).sum();
        HistogramSnapshot { buckets, sum: Duration::from_nanos(sum_ns).as_secs_f64(), count }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn duration_counts_for_the_first_bound_that_is_not_below_it() {
        const BOUNDS: &[Duration] = &[Duration::from_millis(1), Duration::from_millis(2)];
        let histogram = DurationHistogram::new(BOUNDS);
        for micros in [500, 1000, 1001, 2000, 2001, 9000] {
            histogram.observe(Duration::from_micros(micros));
        }
        let snapshot = histogram.snapshot();
        let counts: Vec<u64> = snapshot.buckets.iter().map(|(_, count)| *count).collect();
        assert_eq!(counts, [2, 2, 2]);
        assert_eq!(snapshot.count, 6);
        assert!((snapshot.sum - 0.015_502).abs() < 1e-9, "{}", snapshot.sum);
        let twice = HistogramSnapshot::sum_of([snapshot.clone(), snapshot].into_iter());
        assert_eq!(twice.buckets.iter().map(|(_, count)| *count).collect::<Vec<_>>(), [4, 4, 4]);
        assert_eq!(twice.count, 12);
        assert!((twice.sum - 0.031_004).abs() < 1e-9, "{}", twice.sum);
    }
}
