//! What is counted of a plugin's decisions.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::engine::pool::PoolCounts;
use crate::policies::decision::FailureCause;
use crate::policies::wasm::state::latency::{BUCKETS, LatencyCounts, bucket_of};
use crate::policies::wasm::state::seen::Seen;
use crate::types::shard::Sharded;

/// One decision in this many is timed: reading the clock twice costs more than a small guest.
const TIMED_ONE_IN: u64 = 16;

#[derive(Debug)]
struct Shard {
    decisions: AtomicU64,
    sum_ns: AtomicU64,
    buckets: [AtomicU64; BUCKETS],
}

impl Default for Shard {
    fn default() -> Self {
        let zero = || AtomicU64::new(0);
        Self { decisions: zero(), sum_ns: zero(), buckets: [const { AtomicU64::new(0) }; BUCKETS] }
    }
}

/// Counters of one generation.
///
/// # Concurrency
///
/// Per-thread shards; everything is `Relaxed`, since a scrape may be a moment behind.
#[derive(Debug, Default)]
pub(crate) struct DecisionStats {
    shards: Sharded<Shard>,
    failures: [AtomicU64; FailureCause::ALL.len()],
    fallbacks: AtomicU64,
    /// Batches of finished requests that the guest failed at.
    failed_batches: AtomicU64,
    requests: AtomicU64,
    request_errors: AtomicU64,
    waits: AtomicU64,
    sheds: AtomicU64,
}

impl DecisionStats {
    /// Counts a decision that begins; returns its start if it is one of the timed.
    #[inline]
    pub(crate) fn begin(&self) -> Option<Instant> {
        let local = self.shards.mine();
        let decisions = &local.shard.decisions;
        let number = if local.is_own {
            // Nobody else writes it while this generation lives.
            let number = decisions.load(Ordering::Relaxed);
            decisions.store(number + 1, Ordering::Relaxed);
            number
        } else {
            decisions.fetch_add(1, Ordering::Relaxed)
        };
        number.is_multiple_of(TIMED_ONE_IN).then(Instant::now)
    }

    /// Counts the time of a decision that [`begin`](Self::begin) chose to measure, and returns it.
    #[inline]
    pub(crate) fn end(&self, timer: Option<Instant>) -> Option<Duration> {
        let time = timer?.elapsed();
        self.record(time);
        Some(time)
    }

    #[cold]
    fn record(&self, time: Duration) {
        let ns = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        let shard = self.shards.local();
        shard.sum_ns.fetch_add(ns, Ordering::Relaxed);
        if let Some(bucket) = shard.buckets.get(bucket_of(ns)) {
            bucket.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Counts a failure and returns how many of its kind there were.
    #[cold]
    pub(crate) fn fail(&self, cause: FailureCause) -> u64 {
        self.failures.get(cause as usize).map_or(0, |counter| counter.fetch_add(1, Ordering::Relaxed) + 1)
    }

    /// Counts a decision of the fallback policy and returns how many there were.
    #[cold]
    pub(crate) fn fall_back(&self) -> u64 {
        self.fallbacks.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Counts a batch of finished requests that the guest failed at.
    #[cold]
    pub(crate) fn fail_batch(&self) -> u64 {
        self.failed_batches.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Counts a finished request that this generation placed.
    #[cold]
    pub(crate) fn finish_request(&self, success: bool) -> u64 {
        if !success {
            self.request_errors.fetch_add(1, Ordering::Relaxed);
        }
        self.requests.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Counts an answer that has a request wait and returns how many there were.
    #[cold]
    pub(crate) fn wait(&self) -> u64 {
        self.waits.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Counts an answer that refuses a request and returns how many there were.
    #[cold]
    pub(crate) fn shed(&self) -> u64 {
        self.sheds.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// How many answers had a request wait.
    pub(crate) fn waits(&self) -> u64 {
        self.waits.load(Ordering::Relaxed)
    }

    /// How many answers refused a request.
    pub(crate) fn sheds(&self) -> u64 {
        self.sheds.load(Ordering::Relaxed)
    }

    fn failed(&self, cause: FailureCause) -> u64 {
        self.failures.get(cause as usize).map_or(0, |counter| counter.load(Ordering::Relaxed))
    }

    /// Failures that the guest is to blame for.
    pub(crate) fn guest_failures(&self) -> u64 {
        self.failures().into_iter().filter(|(cause, _)| cause.is_guests()).map(|(_, count)| count).sum()
    }

    /// What it has counted so far, for rollouts to judge.
    pub(crate) fn seen(&self) -> Seen {
        let sheds = self.sheds();
        Seen {
            // One that is asked again is not decided yet.
            decisions: self.decisions().saturating_sub(self.waits()),
            failures: self.guest_failures() + self.failed_batches.load(Ordering::Relaxed) + sheds,
            held_back: sheds + self.failed(FailureCause::WaitOver),
            no_choice: self.failed(FailureCause::NoChoice),
            latency: self.latency(),
            requests: self.requests.load(Ordering::Relaxed),
            request_errors: self.request_errors.load(Ordering::Relaxed),
        }
    }

    /// Adds the other's counts. Nobody may count in the other any more.
    pub(crate) fn absorb(&self, other: &Self) {
        let own = self.shards.local();
        let add = |to: &AtomicU64, from: &AtomicU64| {
            to.fetch_add(from.load(Ordering::Relaxed), Ordering::Relaxed);
        };
        for shard in other.shards.iter() {
            add(&own.decisions, &shard.decisions);
            add(&own.sum_ns, &shard.sum_ns);
            own.buckets.iter().zip(&shard.buckets).for_each(|(to, from)| add(to, from));
        }
        self.failures.iter().zip(&other.failures).for_each(|(to, from)| add(to, from));
        add(&self.fallbacks, &other.fallbacks);
        add(&self.failed_batches, &other.failed_batches);
        add(&self.requests, &other.requests);
        add(&self.request_errors, &other.request_errors);
        add(&self.waits, &other.waits);
        add(&self.sheds, &other.sheds);
    }

    pub(crate) fn decisions(&self) -> u64 {
        self.shards.iter().map(|shard| shard.decisions.load(Ordering::Relaxed)).sum()
    }

    pub(crate) fn fallbacks(&self) -> u64 {
        self.fallbacks.load(Ordering::Relaxed)
    }

    pub(crate) fn failures(&self) -> Vec<(FailureCause, u64)> {
        let counts = self.failures.iter().map(|counter| counter.load(Ordering::Relaxed));
        FailureCause::ALL.into_iter().zip(counts).collect()
    }

    pub(crate) fn latency(&self) -> LatencyCounts {
        let mut counts = LatencyCounts::default();
        for shard in self.shards.iter() {
            counts.sum_ns += shard.sum_ns.load(Ordering::Relaxed);
            for (total, bucket) in counts.buckets.iter_mut().zip(&shard.buckets) {
                *total += bucket.load(Ordering::Relaxed);
            }
        }
        counts
    }
}

/// What is counted of one generation that lives.
#[derive(Clone, Debug)]
pub struct GenerationStats {
    /// Its number.
    pub generation: u64,
    /// Decisions it was asked for, including failed ones and those it was shown as a shadow.
    pub decisions: u64,
    /// Answers that refused a request.
    pub sheds: u64,
    /// Answers that had a request wait.
    pub waits: u64,
    /// Failures by cause.
    pub failures: Vec<(FailureCause, u64)>,
    /// Times of one decision in sixteen.
    pub latency: LatencyCounts,
}

/// How replaced generations drained.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct DrainCounts {
    /// Generations that are gone.
    pub drained: u64,
    /// Time that they took together, from the swap to the last instance.
    pub total: Duration,
    /// Time that the last of them took.
    pub last: Duration,
    /// Generations that took longer than `drain_report_secs`.
    pub overdue: u64,
}

/// What is known of a loaded plugin, for metrics and listings.
#[derive(Clone, Debug)]
pub struct PluginStats {
    /// Its name.
    pub name: String,
    /// The generation that serves.
    pub generation: u64,
    /// Generations that live.
    pub live_generations: usize,
    /// Decisions of all generations, including failed ones. What a shadow is shown counts as none, here
    /// and below.
    pub decisions: u64,
    /// Decisions that the fallback policy made instead.
    pub fallbacks: u64,
    /// Answers that refused a request.
    pub sheds: u64,
    /// Answers that had a request wait: it is asked again, and counts each time.
    pub waits: u64,
    /// Failures by cause.
    pub failures: Vec<(FailureCause, u64)>,
    /// Times of one decision in sixteen, from the call to the checked choice.
    pub latency: LatencyCounts,
    /// Instances of the generation that serves; counts of instances made and replaced are over
    /// all generations.
    pub pool: PoolCounts,
    /// True while the breaker keeps the plugin out of the path.
    pub breaker_open: bool,
    /// Log lines of the plugin that were not passed on.
    pub log_suppressed: u64,
    /// File operations of its guests that were refused because its private directory was full.
    pub tmp_refusals: u64,
    /// Batches of events about requests that could not be reported to it.
    pub completion_failures: u64,
    /// Such events that were dropped because too many waited to be reported.
    pub events_dropped: u64,
    /// Each generation that lives.
    pub generations: Vec<GenerationStats>,
    /// How replaced generations drained.
    pub drains: DrainCounts,
    /// Swaps, promotions and rollbacks since the plugin was first loaded.
    pub swaps: u64,
    /// Rollbacks among them.
    pub rollbacks: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn absorbed_counts_add_up() {
        let (total, part) = (DecisionStats::default(), DecisionStats::default());
        for stats in [&total, &part] {
            for _ in 0..5 {
                stats.begin();
            }
            stats.record(Duration::from_nanos(300));
            stats.fail(FailureCause::Trap);
            stats.fall_back();
        }
        total.absorb(&part);
        assert_eq!((total.decisions(), total.fallbacks()), (10, 2));
        assert_eq!(total.latency().count(), 2);
        assert_eq!(total.failures()[FailureCause::Trap as usize], (FailureCause::Trap, 2));
    }

    #[test]
    fn one_decision_in_sixteen_is_timed() {
        let stats = DecisionStats::default();
        let timed = (0..160).filter(|_| stats.begin().is_some()).count();
        assert_eq!(timed, 10);
        assert_eq!(stats.decisions(), 160);
    }
}
