//! What a plugin keeps across calls and generations: counters, a small map, the `rows` state.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicI64;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;
use std::time::Duration;
use std::time::Instant;

use parking_lot::Mutex;
use parking_lot::RwLock;

use sgl_policy_abi::host_function;

use crate::engine::error::CallError;
use crate::engine::error::EngineError;
use crate::engine::recipe::PoolTally;
use crate::engine::sandbox::HostServices;
use crate::engine::sandbox::PrivateDirectory;
use crate::policies::wasm::stats::DecisionStats;
use crate::policies::wasm::stats::DrainCounts;
use crate::policies::wasm::stats::GenerationStats;

/// Log lines of one plugin that are passed on per second; the rest is counted.
const LOG_LINES_PER_SECOND: u64 = 20;

/// Counters of a plugin.
const COUNTERS: usize = host_function::COUNTER_SLOTS as usize;

/// What one plugin keeps. All generations and instances of it share this.
///
/// # Concurrency
///
/// Counters are independent atomics. The map has a lock that is held for a lookup or an insert,
/// never while a guest runs. The `rows` state has an asynchronous lock that is held for a whole
/// call, so that no update is lost; only plugins that return state take it.
#[derive(Debug)]
pub struct PluginState {
    name: String,
    counters: [AtomicI64; COUNTERS],
    map: RwLock<KvMap>,
    log: Mutex<LogWindow>,
    log_suppressed: AtomicU64,
    tmp_refusals: AtomicU64,
    completion_failures: AtomicU64,
    /// The encoded `state` map of the row form; empty = none yet.
    pub(crate) rows: tokio::sync::Mutex<Vec<u8>>,
    /// True once a generation has returned state: calls in the row form must not overlap then.
    returns_rows: AtomicBool,
    /// Callers that wait for `rows`.
    pub(crate) rows_waiting: AtomicUsize,
    /// What is counted: of each generation that lives, and of all that are gone.
    counts: Mutex<Counts>,
    drains: Mutex<DrainCounts>,
    /// Instances that were made, replaced and discarded, of all generations.
    pub(crate) instances: Arc<PoolTally>,
    /// What guests see as `/tmp`, once a generation may use files.
    directory: Mutex<Option<Arc<PrivateDirectory>>>,
}

/// Counters of the plugin's generations. Together they never fall.
#[derive(Debug, Default)]
struct Counts {
    live: Vec<(u64, Arc<DecisionStats>)>,
    gone: DecisionStats,
}

#[derive(Debug, Default)]
struct KvMap {
    entries: HashMap<Box<[u8]>, Arc<[u8]>>,
    bytes: usize,
}

#[derive(Debug)]
struct LogWindow {
    started: Instant,
    lines: u64,
}

impl PluginState {
    /// The state of a plugin that has done nothing yet.
    pub fn new(name: &str) -> Arc<Self> {
        Arc::new(Self {
            name: name.to_owned(),
            counters: [const { AtomicI64::new(0) }; COUNTERS],
            map: RwLock::default(),
            log: Mutex::new(LogWindow { started: Instant::now(), lines: 0 }),
            log_suppressed: AtomicU64::new(0),
            tmp_refusals: AtomicU64::new(0),
            completion_failures: AtomicU64::new(0),
            rows: tokio::sync::Mutex::default(),
            returns_rows: AtomicBool::new(false),
            rows_waiting: AtomicUsize::new(0),
            counts: Mutex::default(),
            drains: Mutex::default(),
            instances: Arc::default(),
            directory: Mutex::new(None),
        })
    }

    /// A copy that a trial may change without a trace in the plugin's own.
    pub(crate) fn detached(&self) -> Arc<Self> {
        let copy = Self::new(&self.name);
        for (to, from) in copy.counters.iter().zip(&self.counters) {
            to.store(from.load(Ordering::Relaxed), Ordering::Relaxed);
        }
        let map = self.map.read();
        *copy.map.write() = KvMap { entries: map.entries.clone(), bytes: map.bytes };
        drop(map);
        copy
    }

    /// Log lines that were not passed on.
    pub fn log_suppressed(&self) -> u64 {
        self.log_suppressed.load(Ordering::Relaxed)
    }

    /// Calls of guests that were refused because the private directory is full.
    pub fn tmp_refusals(&self) -> u64 {
        self.tmp_refusals.load(Ordering::Relaxed)
    }

    /// Batches of finished requests that the plugin could not be told of.
    pub fn completion_failures(&self) -> u64 {
        self.completion_failures.load(Ordering::Relaxed)
    }

    /// Counts a batch of finished requests that the plugin could not be told of.
    pub(crate) fn fail_completion(&self, generation: u64, error: &CallError) {
        let count = self.completion_failures.fetch_add(1, Ordering::Relaxed) + 1;
        if count.is_power_of_two() {
            let plugin = self.name.as_str();
            tracing::warn!(plugin, generation, %error, count, "a plugin could not be told of finished requests");
        }
    }

    /// Generations that live: serving, draining, or being tried.
    pub fn live_generations(&self) -> usize {
        self.counts.lock().live.len()
    }

    /// What all generations have counted, those that are gone included.
    pub(crate) fn totals(&self) -> DecisionStats {
        let totals = DecisionStats::default();
        let counts = self.counts.lock();
        totals.absorb(&counts.gone);
        counts.live.iter().for_each(|(_, stats)| totals.absorb(stats));
        totals
    }

    /// What each generation that lives has counted, oldest first.
    pub(crate) fn by_generation(&self) -> Vec<GenerationStats> {
        let of = |(id, stats): &(u64, Arc<DecisionStats>)| GenerationStats {
            generation: *id,
            decisions: stats.decisions(),
            failures: stats.failures(),
            latency: stats.latency(),
        };
        self.counts.lock().live.iter().map(of).collect()
    }

    /// How replaced generations drained.
    pub(crate) fn drains(&self) -> DrainCounts {
        *self.drains.lock()
    }

    pub(crate) fn count_drained(&self, time: Duration) {
        let mut drains = self.drains.lock();
        drains.drained += 1;
        drains.total += time;
        drains.last = time;
    }

    pub(crate) fn count_overdue(&self) {
        self.drains.lock().overdue += 1;
    }

    /// Counts something of a generation that may be gone. Not for the decision path.
    pub(crate) fn count(&self, generation: Option<u64>, count: impl FnOnce(&DecisionStats) -> u64) -> u64 {
        let counts = self.counts.lock();
        let own = counts.live.iter().find(|(id, _)| Some(*id) == generation);
        count(own.map_or(&counts.gone, |(_, stats)| stats))
    }

    /// True once a generation has returned state in the row form.
    #[inline]
    pub(crate) fn returns_rows(&self) -> bool {
        // Acquire: pairs with `expect_rows`; a call that misses it discards its state and asks
        // again.
        self.returns_rows.load(Ordering::Acquire)
    }

    /// From now on calls in the row form do not overlap.
    #[cold]
    pub(crate) fn expect_rows(&self) {
        self.returns_rows.store(true, Ordering::Release);
    }

    /// The plugin's private directory, made if there is none yet.
    pub(crate) fn directory(&self) -> Result<Arc<PrivateDirectory>, EngineError> {
        let mut directory = self.directory.lock();
        if let Some(known) = &*directory {
            return Ok(Arc::clone(known));
        }
        let made = Arc::new(PrivateDirectory::new()?);
        *directory = Some(Arc::clone(&made));
        Ok(made)
    }

    /// Forgets all that guests have left in it. The private directory goes with the last instance
    /// that sees it. What the host has counted stays.
    pub(crate) fn forget(&self) {
        self.directory.lock().take();
        // Relaxed: a counter orders nothing else.
        self.counters.iter().for_each(|counter| counter.store(0, Ordering::Relaxed));
        *self.map.write() = KvMap::default();
        // Held by a call that is still under way: what it returns is the last of its plugin.
        if let Ok(mut rows) = self.rows.try_lock() {
            rows.clear();
        }
        self.returns_rows.store(false, Ordering::Release);
    }

    fn may_log(&self) -> bool {
        let mut window = self.log.lock();
        if window.started.elapsed().as_secs() >= 1 {
            *window = LogWindow { started: Instant::now(), lines: 0 };
        }
        window.lines += 1;
        window.lines <= LOG_LINES_PER_SECOND
    }
}

impl HostServices for PluginState {
    fn log(&self, level: u8, line: &str) {
        if !self.may_log() {
            self.log_suppressed.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let plugin = self.name.as_str();
        // Debug formatting escapes control characters: a guest cannot forge lines of the log.
        match level {
            0 => tracing::error!(target: "sgl_plugin", plugin, line = ?line),
            1 => tracing::warn!(target: "sgl_plugin", plugin, line = ?line),
            2 => tracing::info!(target: "sgl_plugin", plugin, line = ?line),
            3 => tracing::debug!(target: "sgl_plugin", plugin, line = ?line),
            _ => tracing::trace!(target: "sgl_plugin", plugin, line = ?line),
        }
    }

    fn counter_add(&self, slot: u32, delta: i64) -> Option<i64> {
        let counter = self.counters.get(slot as usize)?;
        // Relaxed: a counter orders nothing else.
        Some(counter.fetch_add(delta, Ordering::Relaxed).wrapping_add(delta))
    }

    fn kv_get(&self, key: &[u8]) -> Option<Arc<[u8]>> {
        self.map.read().entries.get(key).cloned()
    }

    fn kv_set(&self, key: &[u8], value: &[u8]) -> Result<(), i32> {
        if value.len() > host_function::KV_VALUE_BYTES {
            return Err(host_function::KV_VALUE_TOO_LARGE);
        }
        let mut map = self.map.write();
        let before = map.entries.get(key).map_or(0, |old| key.len() + old.len());
        let bytes = map.bytes - before + key.len() + value.len();
        let crowded = map.entries.len() >= host_function::KV_ENTRIES && !map.entries.contains_key(key);
        if bytes > host_function::KV_TOTAL_BYTES || crowded {
            return Err(host_function::KV_FULL);
        }
        map.bytes = bytes;
        map.entries.insert(key.into(), value.into());
        Ok(())
    }

    fn tmp_full(&self) {
        let count = self.tmp_refusals.fetch_add(1, Ordering::Relaxed) + 1;
        if count.is_power_of_two() {
            let plugin = self.name.as_str();
            tracing::warn!(
                plugin,
                count,
                "a plugin's private directory is full: max_tmp_bytes, max_tmp_files"
            );
        }
    }
}

/// Counts a generation as live until it is gone with its last instance; then its counts are kept
/// among those of all that are gone.
#[derive(Debug)]
pub(crate) struct LiveGeneration {
    id: u64,
    stats: Arc<DecisionStats>,
    state: Arc<PluginState>,
}

impl LiveGeneration {
    pub(crate) fn new(id: u64, state: &Arc<PluginState>) -> Self {
        let stats = Arc::<DecisionStats>::default();
        state.counts.lock().live.push((id, Arc::clone(&stats)));
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
        counts.live.retain(|(id, _)| *id != self.id);
        counts.gone.absorb(&self.stats);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_shared_and_slots_are_checked() {
        let state = PluginState::new("p");
        assert_eq!(state.counter_add(3, 5), Some(5));
        assert_eq!(state.counter_add(3, -2), Some(3));
        assert_eq!(state.counter_add(64, 1), None);
    }

    #[test]
    fn map_is_bounded_and_replacing_a_value_frees_its_bytes() {
        let state = PluginState::new("p");
        let value = vec![0; host_function::KV_VALUE_BYTES];
        let stored = (0_u8..).take_while(|key| state.kv_set(&[*key], &value).is_ok()).count();
        assert_eq!(stored, host_function::KV_TOTAL_BYTES / (value.len() + 1));
        assert_eq!(state.kv_set(b"more", &value), Err(host_function::KV_FULL));
        state.kv_set(&[0], b"small").unwrap();
        state.kv_set(b"more", &value).unwrap();
        assert_eq!(state.kv_get(&[0]).as_deref(), Some(&b"small"[..]));
        assert_eq!(
            state.kv_set(b"k", &[0; host_function::KV_VALUE_BYTES + 1]),
            Err(host_function::KV_VALUE_TOO_LARGE)
        );
    }

    #[test]
    fn map_takes_so_many_entries_and_no_more() {
        let state = PluginState::new("p");
        let key = |number: usize| number.to_le_bytes();
        for number in 0..host_function::KV_ENTRIES {
            state.kv_set(&key(number), b"").unwrap();
        }
        assert_eq!(state.kv_set(&key(host_function::KV_ENTRIES), b""), Err(host_function::KV_FULL));
        state.kv_set(&key(7), b"another value").unwrap();
    }

    #[test]
    fn detached_copy_starts_equal_and_changes_alone() {
        let state = PluginState::new("p");
        state.counter_add(0, 7);
        state.kv_set(b"k", b"v").unwrap();
        let trial = state.detached();
        assert_eq!(trial.counter_add(0, 1), Some(8));
        trial.kv_set(b"k", b"w").unwrap();
        assert_eq!(state.counter_add(0, 0), Some(7));
        assert_eq!(state.kv_get(b"k").as_deref(), Some(&b"v"[..]));
    }

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
    fn log_flood_is_cut_and_counted() {
        let state = PluginState::new("p");
        (0..1000).for_each(|_| state.log(2, "x"));
        assert!(state.log_suppressed() >= 900, "{}", state.log_suppressed());
    }
}
