//! What is known about a plugin across its generations.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use parking_lot::Mutex;
use tokio::sync::oneshot;

use crate::engine::error::CallError;
use crate::engine::pool::recipe::PoolTally;
use crate::policies::decision::FailureCause;
use crate::policies::wasm::state::kept::Kept;
use crate::policies::wasm::state::plugin_log::PluginLog;
use crate::policies::wasm::state::stats::{DecisionStats, DrainCounts, GenerationStats};

/// How many rolled back candidates are remembered: requests that they placed may still run.
const MAX_DROPPED: usize = 64;

/// What is known about one plugin over all its generations, and what the one that serves keeps.
///
/// # Concurrency
///
/// Everything has its own lock, which is held for a lookup or a change and never while a guest runs;
/// none of it is on the decision path.
#[derive(Debug)]
pub(crate) struct PluginState {
    log: Arc<PluginLog>,
    completion_failures: AtomicU64,
    events_dropped: AtomicU64,
    /// The last failure, in one line.
    last_failure: Mutex<Option<String>>,
    /// What the generation that serves keeps, and the next one shares.
    serving: Mutex<Arc<Kept>>,
    /// The last candidates that were rolled back: the stable generation is not told of requests that
    /// they placed.
    dropped: Mutex<VecDeque<u64>>,
    /// What is counted: of each generation that lives, and of all that are gone.
    counts: Mutex<GenerationCounts>,
    drains: Mutex<Drains>,
    /// Instances that were made, replaced and discarded, of all generations.
    pub(crate) instances: Arc<PoolTally>,
}

/// Counters of the plugin's generations. Together they never fall.
#[derive(Debug, Default)]
struct GenerationCounts {
    live: Vec<LiveCounts>,
    gone: DecisionStats,
}

/// Counters of one generation that lives.
#[derive(Debug)]
struct LiveCounts {
    id: u64,
    /// Of what it decided.
    stats: Arc<DecisionStats>,
    /// Decisions that it was shown as a shadow. They decide nothing, so no total includes them.
    as_shadow: Option<Arc<DecisionStats>>,
}

impl LiveCounts {
    fn told(&self) -> GenerationStats {
        let sum = DecisionStats::default();
        sum.absorb(&self.stats);
        self.as_shadow.iter().for_each(|stats| sum.absorb(stats));
        GenerationStats {
            generation: self.id,
            decisions: sum.decisions(),
            sheds: sum.sheds(),
            waits: sum.waits(),
            failures: sum.failures(),
            latency: sum.latency(),
        }
    }
}

/// How generations that went out of use drain.
#[derive(Debug, Default)]
struct Drains {
    counts: DrainCounts,
    /// Those that calls may still hold, by their numbers.
    under_way: HashMap<u64, Drain>,
}

/// A generation that went out of use and is not gone yet.
#[derive(Debug)]
struct Drain {
    began: Instant,
    /// Dropped with this value: whoever holds the other end then learns that the generation is gone.
    _gone: oneshot::Sender<()>,
}

impl PluginState {
    /// The state of a plugin that has done nothing yet.
    pub(crate) fn new(name: &str) -> Arc<Self> {
        let log = Arc::new(PluginLog::new(name));
        Arc::new(Self {
            serving: Mutex::new(Kept::new(Arc::clone(&log))),
            log,
            completion_failures: AtomicU64::new(0),
            events_dropped: AtomicU64::new(0),
            last_failure: Mutex::default(),
            dropped: Mutex::default(),
            counts: Mutex::default(),
            drains: Mutex::default(),
            instances: Arc::default(),
        })
    }

    /// The last failure, in one line; `None` before the first.
    pub(crate) fn last_failure(&self) -> Option<String> {
        self.last_failure.lock().clone()
    }

    /// Remembers a failure.
    #[cold]
    pub(crate) fn note_failure(&self, generation: Option<u64>, cause: FailureCause, detail: &str) {
        let generation = generation.map_or_else(String::new, |id| format!("generation {id}: "));
        *self.last_failure.lock() = Some(format!("{generation}{cause}: {detail}"));
    }

    /// What the generation that serves keeps.
    pub(crate) fn serving(&self) -> Arc<Kept> {
        Arc::clone(&self.serving.lock())
    }

    /// Sets what the generation that serves from now on keeps.
    pub(crate) fn serve(&self, kept: &Arc<Kept>) {
        *self.serving.lock() = Arc::clone(kept);
    }

    /// Remembers that a candidate is gone with all that it kept.
    pub(crate) fn note_dropped(&self, generation: u64) {
        let mut dropped = self.dropped.lock();
        if dropped.len() >= MAX_DROPPED {
            dropped.pop_front();
        }
        dropped.push_back(generation);
    }

    /// True if this candidate was rolled back.
    pub(crate) fn was_dropped(&self, generation: u64) -> bool {
        self.dropped.lock().contains(&generation)
    }

    /// Log lines that were not passed on.
    pub(crate) fn log_suppressed(&self) -> u64 {
        self.log.suppressed()
    }

    /// Calls of guests that were refused because the private directory is full.
    pub(crate) fn tmp_refusals(&self) -> u64 {
        self.log.tmp_refusals()
    }

    /// Batches of events about requests that could not be reported to the plugin.
    pub(crate) fn completion_failures(&self) -> u64 {
        self.completion_failures.load(Ordering::Relaxed)
    }

    /// Counts a batch of events about requests that could not be reported to the plugin.
    pub(crate) fn fail_completion(&self, generation: u64, error: &CallError) {
        let count = self.completion_failures.fetch_add(1, Ordering::Relaxed) + 1;
        if count.is_power_of_two() {
            let plugin = self.log.plugin();
            tracing::warn!(plugin, generation, %error, count, "a plugin could not be told of its requests");
        }
    }

    /// Events that were dropped because too many waited to be reported to the plugin.
    pub(crate) fn events_dropped(&self) -> u64 {
        self.events_dropped.load(Ordering::Relaxed)
    }

    /// Counts an event that was dropped.
    #[cold]
    pub(crate) fn drop_event(&self) {
        // Relaxed: a counter orders nothing else.
        self.events_dropped.fetch_add(1, Ordering::Relaxed);
    }

    /// Generations that live: serving, draining, or being tried.
    pub(crate) fn live_generations(&self) -> usize {
        self.counts.lock().live.len()
    }

    /// Counts of all generations, including those that are gone; without what shadows were shown.
    pub(crate) fn totals(&self) -> DecisionStats {
        let totals = DecisionStats::default();
        let counts = self.counts.lock();
        totals.absorb(&counts.gone);
        counts.live.iter().for_each(|live| totals.absorb(&live.stats));
        totals
    }

    /// Counts of each live generation, including what it was shown as a shadow; oldest first.
    pub(crate) fn by_generation(&self) -> Vec<GenerationStats> {
        self.counts.lock().live.iter().map(LiveCounts::told).collect()
    }

    /// The counters for what a generation is shown as a shadow from now on.
    pub(crate) fn count_as_shadow(&self, generation: u64) -> Arc<DecisionStats> {
        let stats = Arc::<DecisionStats>::default();
        let mut counts = self.counts.lock();
        if let Some(live) = counts.live.iter_mut().find(|live| live.id == generation) {
            live.as_shadow = Some(Arc::clone(&stats));
        }
        stats
    }

    /// How replaced generations drained.
    pub(crate) fn drains(&self) -> DrainCounts {
        self.drains.lock().counts
    }

    /// A generation goes out of use: it counts as drained once it is gone, and then the receiver ends.
    pub(crate) fn begin_drain(&self, generation: u64) -> oneshot::Receiver<()> {
        let (sender, gone) = oneshot::channel();
        let drain = Drain { began: Instant::now(), _gone: sender };
        // A generation that came back into use meanwhile starts its drain anew.
        self.drains.lock().under_way.insert(generation, drain);
        gone
    }

    fn end_drain(&self, generation: u64) {
        let mut drains = self.drains.lock();
        let Some(drain) = drains.under_way.remove(&generation) else { return };
        let time = drain.began.elapsed();
        drains.counts.drained += 1;
        drains.counts.total += time;
        drains.counts.last = time;
    }

    pub(crate) fn count_overdue(&self) {
        self.drains.lock().counts.overdue += 1;
    }

    /// Counts something for a generation that may be gone. Not for the decision path.
    pub(crate) fn count(&self, generation: Option<u64>, count: impl FnOnce(&DecisionStats) -> u64) -> u64 {
        let counts = self.counts.lock();
        let own = counts.live.iter().find(|live| Some(live.id) == generation);
        count(own.map_or(&counts.gone, |live| &live.stats))
    }

    /// Forgets all that guests kept. The private directory goes with the last instance that sees it.
    /// What the host counted stays.
    pub(crate) fn forget(&self) {
        *self.serving.lock() = Kept::new(Arc::clone(&self.log));
    }
}

/// Counts a generation as live until its last instance is gone; its counts then join those of all gone
/// ones.
#[derive(Debug)]
pub(crate) struct LiveGeneration {
    id: u64,
    stats: Arc<DecisionStats>,
    state: Arc<PluginState>,
}

impl LiveGeneration {
    pub(crate) fn new(id: u64, state: &Arc<PluginState>) -> Self {
        let stats = Arc::<DecisionStats>::default();
        state.counts.lock().live.push(LiveCounts { id, stats: Arc::clone(&stats), as_shadow: None });
        Self { id, stats, state: Arc::clone(state) }
    }

    /// The generation's counters.
    pub(crate) fn stats(&self) -> &Arc<DecisionStats> {
        &self.stats
    }
}

impl Drop for LiveGeneration {
    fn drop(&mut self) {
        let mut counts = self.state.counts.lock();
        counts.live.retain(|live| live.id != self.id);
        counts.gone.absorb(&self.stats);
        drop(counts);
        self.state.end_drain(self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use tokio::sync::oneshot::error::TryRecvError;

    #[test]
    fn counts_of_a_generation_outlive_it() {
        let state = PluginState::new("p");
        let generation = LiveGeneration::new(7, &state);
        for _ in 0..3 {
            generation.stats().begin();
        }
        assert_eq!((state.live_generations(), state.totals().decisions()), (1, 3));
        drop(generation);
        assert_eq!((state.live_generations(), state.totals().decisions()), (0, 3));
    }

    #[test]
    fn what_a_shadow_is_shown_is_its_own_and_in_no_total() {
        let state = PluginState::new("p");
        let generation = LiveGeneration::new(7, &state);
        let as_shadow = state.count_as_shadow(7);
        generation.stats().begin();
        for _ in 0..3 {
            as_shadow.begin();
        }
        as_shadow.fail(FailureCause::Trap);
        let own = state.by_generation().remove(0);
        assert_eq!((own.decisions, own.failures[FailureCause::Trap as usize].1), (4, 1));
        let total = || (state.totals().decisions(), state.totals().failures()[FailureCause::Trap as usize].1);
        assert_eq!(total(), (1, 0));
        drop(generation);
        assert_eq!(total(), (1, 0));
    }

    #[test]
    fn drain_ends_with_its_generation_however_often_it_began() {
        let state = PluginState::new("p");
        let (one, other) = (LiveGeneration::new(7, &state), LiveGeneration::new(8, &state));
        let mut again = state.begin_drain(7);
        let mut gone = state.begin_drain(7);
        assert_eq!(again.try_recv(), Err(TryRecvError::Closed), "it was in use once more");
        assert_eq!(gone.try_recv(), Err(TryRecvError::Empty));
        drop(other);
        assert_eq!((state.drains().drained, gone.try_recv()), (0, Err(TryRecvError::Empty)));
        drop(one);
        assert_eq!((state.drains().drained, gone.try_recv()), (1, Err(TryRecvError::Closed)));
    }
}
