//! How long decisions took, in buckets.

use std::time::Duration;

/// Sub-buckets of an octave: a quantile is right within 12 %.
const STEPS: u32 = 4;

/// Times below 2^LOWEST nanoseconds share the first bucket.
const LOWEST: u32 = 6;

/// Octaves: from 64 ns to 34 s.
const OCTAVES: u32 = 29;

pub(crate) const BUCKETS: usize = (OCTAVES * STEPS) as usize;

/// Decision times of some period.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LatencyCounts {
    pub(crate) buckets: Vec<u64>,
    pub(crate) sum_ns: u64,
}

impl Default for LatencyCounts {
    fn default() -> Self {
        Self { buckets: vec![0; BUCKETS], sum_ns: 0 }
    }
}

impl LatencyCounts {
    /// How many decisions were timed.
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    /// Their times together.
    pub fn sum(&self) -> Duration {
        Duration::from_nanos(self.sum_ns)
    }

    /// The time that `quantile` (0.0 to 1.0) of the decisions did not exceed, right within 12 %;
    /// `None` if none was timed.
    pub fn quantile(&self, quantile: f64) -> Option<Duration> {
        let count = self.count();
        if count == 0 {
            return None;
        }
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "a rank between 1 and count; counts beyond 2^52 do not occur"
        )]
        let rank = ((quantile.clamp(0.0, 1.0) * count as f64).ceil() as u64).max(1);
        let mut seen = 0;
        let at = self.buckets.iter().position(|bucket| {
            seen += bucket;
            seen >= rank
        });
        at.map(|index| Duration::from_nanos(upper_bound_ns(index)))
    }

    /// How many took at most `2^exponent` nanoseconds, for a histogram with such bounds.
    pub fn at_most_pow2(&self, exponent: u32) -> u64 {
        let full = (exponent.saturating_sub(LOWEST) * STEPS) as usize;
        self.buckets.iter().take(full).sum()
    }

    /// How many certainly took longer than `limit`: those in the limit's own bucket may not have.
    pub(crate) fn beyond(&self, limit: Duration) -> u64 {
        let limit = u64::try_from(limit.as_nanos()).unwrap_or(u64::MAX);
        self.buckets.iter().skip(bucket_of(limit) + 1).sum()
    }

    /// Adds so many decisions of this time.
    #[cfg(test)]
    pub(crate) fn add(&mut self, time: Duration, times: u64) {
        let ns = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        self.buckets[bucket_of(ns)] += times;
        self.sum_ns += ns * times;
    }
}

/// The bucket of a time.
pub(crate) fn bucket_of(ns: u64) -> usize {
    if ns < 1 << LOWEST {
        return 0;
    }
    let octave = ns.ilog2();
    let step = (ns >> (octave - 2)) & u64::from(STEPS - 1);
    let index = u64::from((octave - LOWEST) * STEPS) + step;
    usize::try_from(index).unwrap_or(BUCKETS).min(BUCKETS - 1)
}

fn upper_bound_ns(index: usize) -> u64 {
    let index = index as u64;
    let (octave, step) = (index / u64::from(STEPS) + u64::from(LOWEST), index % u64::from(STEPS));
    (1 << octave) + ((step + 1) << (octave - 2))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bucket_bounds_hold_their_values() {
        for ns in (0..40).map(|shift| 3_u64 << shift) {
            let index = bucket_of(ns);
            if index < BUCKETS - 1 {
                assert!(ns < upper_bound_ns(index), "{ns} in {index}");
                assert!(index == 0 || ns >= upper_bound_ns(index - 1), "{ns} in {index}");
            }
        }
    }

    #[test]
    fn quantiles_come_from_the_recorded_times() {
        let mut counts = LatencyCounts::default();
        counts.add(Duration::from_nanos(200), 90);
        counts.add(Duration::from_micros(50), 10);
        let p50 = counts.quantile(0.5).unwrap();
        let p99 = counts.quantile(0.99).unwrap();
        assert!((200..=225).contains(&p50.as_nanos()), "{p50:?}");
        assert!((50_000..=57_344).contains(&p99.as_nanos()), "{p99:?}");
        assert_eq!(counts.at_most_pow2(8), 90);
        assert_eq!(counts.at_most_pow2(7), 0);
        assert_eq!(counts.count(), 100);
    }

    #[test]
    fn times_beyond_a_limit_are_those_that_surely_are() {
        let mut counts = LatencyCounts::default();
        counts.add(Duration::from_micros(1), 5);
        counts.add(Duration::from_micros(50), 3);
        assert_eq!(counts.beyond(Duration::from_micros(2)), 3);
        assert_eq!(counts.beyond(Duration::from_micros(50)), 0);
        assert_eq!(counts.beyond(Duration::ZERO), 8);
        assert_eq!(counts.beyond(Duration::MAX), 0);
    }
}
