//! What guests keep with the host across calls: counters, a small map, the `rows` state, files.
//!
//! ```text
//!  generation ─ pushed directly ─► shares what the stable one keeps
//!      └─ canary or shadow ─ fork ─► a copy of its own
//!                                     ├─ rolled back ─► gone
//!                                     ├─ canary promoted ─► its own map, state and files; the
//!                                     │                     plugin's counters, its part added
//!                                     └─ shadow promoted ─► the plugin's; its own was only looking
//! ```

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use parking_lot::{Mutex, RwLock};
use sgl_policy_abi::host_function;

use crate::engine::error::EngineError;
use crate::engine::sandbox::{HostServices, PrivateDirectory};
use crate::policies::wasm::state::outcomes::Outcomes;
use crate::policies::wasm::state::plugin_log::PluginLog;
use crate::policies::wasm::state::row_state::RowState;
use crate::policies::wasm::state::shared_map::{MapLimits, SharedMap};
use crate::types::virtual_time;

/// Counters of a plugin.
const COUNTERS: usize = host_function::COUNTER_SLOTS as usize;

/// What is kept, in parts: a promoted candidate has some parts of its own and shares others.
#[derive(Clone, Debug)]
struct Parts {
    counters: Arc<[AtomicI64; COUNTERS]>,
    map: Arc<RwLock<SharedMap>>,
    rows: Arc<RowState>,
    /// What guests see as `/tmp`, once a generation may use files.
    directory: Arc<Mutex<Option<Arc<PrivateDirectory>>>>,
}

impl Default for Parts {
    fn default() -> Self {
        Self {
            counters: Arc::new([const { AtomicI64::new(0) }; COUNTERS]),
            map: Arc::default(),
            rows: Arc::default(),
            directory: Arc::default(),
        }
    }
}

/// What a generation's guests keep with the host. Generations that follow each other directly share
/// one; a canary and a shadow have their own until they are promoted.
///
/// # Concurrency
///
/// Counters are independent atomics. The map has a lock that is held for a lookup or an insert,
/// never while a guest runs. The `rows` state is held for a whole call; only
/// plugins that return state take it. `joined` is set once.
#[derive(Debug)]
pub(crate) struct Kept {
    log: Arc<PluginLog>,
    own: Parts,
    /// The counters that the copy began with.
    base: [i64; COUNTERS],
    /// Replaces `own` after the promotion.
    joined: OnceLock<Parts>,
    /// What came of requests, to report to these generations.
    pub(crate) outcomes: Outcomes,
}

/// A copy of map and state, to restore them.
#[derive(Debug)]
pub(crate) struct Saved {
    map: SharedMap,
    rows: Vec<u8>,
}

impl Kept {
    /// Nothing yet.
    pub(crate) fn new(log: Arc<PluginLog>) -> Arc<Self> {
        let (own, base, joined) = (Parts::default(), [0; COUNTERS], OnceLock::new());
        Arc::new(Self { log, own, base, joined, outcomes: Outcomes::default() })
    }

    #[inline]
    fn parts(&self) -> &Parts {
        self.joined.get().unwrap_or(&self.own)
    }

    /// A copy for a candidate: it changes alone, and its `/tmp` begins empty. Waits for the call that
    /// holds the state.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future changes nothing.
    pub(crate) async fn fork(&self) -> Arc<Self> {
        let copy = self.copied(Arc::clone(&self.log));
        let state = self.rows().lock().await.clone();
        *copy.rows().lock().await = state;
        if self.returns_rows() {
            copy.expect_rows();
        }
        copy
    }

    /// A copy of counters and map for a trial: its changes leave no trace, and its log lines do not use
    /// up the plugin's.
    pub(crate) fn detached(&self) -> Arc<Self> {
        self.copied(Arc::new(PluginLog::new(self.log.plugin())))
    }

    fn copied(&self, log: Arc<PluginLog>) -> Arc<Self> {
        let (from, own) = (self.parts(), Parts::default());
        let mut base = [0; COUNTERS];
        for ((base, to), from) in base.iter_mut().zip(&*own.counters).zip(&*from.counters) {
            // Relaxed: a counter orders nothing else.
            *base = from.load(Ordering::Relaxed);
            to.store(*base, Ordering::Relaxed);
        }
        *own.map.write() = from.map.read().clone();
        Arc::new(Self { log, own, base, joined: OnceLock::new(), outcomes: Outcomes::default() })
    }

    /// Becomes what the plugin keeps, with the stable generation's counters: it adds to them what the
    /// canary added to its copy. An addition at this very moment may be lost.
    pub(crate) fn join_as_canary(&self, stable: &Self) {
        let counters = Arc::clone(&stable.parts().counters);
        if self.joined.set(Parts { counters, ..self.own.clone() }).is_err() {
            return;
        }
        for (slot, (own, base)) in self.own.counters.iter().zip(self.base).enumerate() {
            let added = own.swap(base, Ordering::Relaxed).wrapping_sub(base);
            self.counter_add(u32::try_from(slot).unwrap_or(u32::MAX), added);
        }
    }

    /// Becomes what the plugin keeps: all that the stable generation keeps, except its files. Nothing
    /// that the shadow wrote counts, since nobody acted on its decisions.
    pub(crate) fn join_as_shadow(&self, stable: &Self) {
        let directory = Arc::clone(&self.own.directory);
        // Set already means promoted already.
        let _ = self.joined.set(Parts { directory, ..stable.parts().clone() });
    }

    /// Map and state as they are. Waits for the call that holds the state.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future changes nothing.
    pub(crate) async fn save(&self) -> Saved {
        let rows = self.rows().lock().await.clone();
        Saved { map: self.parts().map.read().clone(), rows }
    }

    /// Puts the map back at once. The future puts the state back, behind the calls that wait for it.
    pub(crate) fn restore(&self, saved: Saved) -> impl Future<Output = ()> + Send + use<> {
        let Saved { map, rows } = saved;
        *self.parts().map.write() = map;
        let state = Arc::clone(self.rows());
        async move { *state.lock().await = rows }
    }

    /// How much the map may hold from now on.
    pub(crate) fn limit_map(&self, limits: MapLimits) {
        self.parts().map.write().limit(limits);
    }

    pub(crate) fn rows(&self) -> &Arc<RowState> {
        &self.parts().rows
    }

    /// True once a generation has returned state in the row form.
    #[inline]
    pub(crate) fn returns_rows(&self) -> bool {
        self.rows().is_returned()
    }

    /// From now on calls in the row form do not overlap.
    #[cold]
    pub(crate) fn expect_rows(&self) {
        self.rows().expect();
    }

    /// The private directory, made if there is none yet.
    pub(crate) fn directory(&self) -> Result<Arc<PrivateDirectory>, EngineError> {
        let mut directory = self.parts().directory.lock();
        if let Some(known) = &*directory {
            return Ok(Arc::clone(known));
        }
        let made = Arc::new(PrivateDirectory::new()?);
        *directory = Some(Arc::clone(&made));
        Ok(made)
    }
}

impl HostServices for Kept {
    fn log(&self, level: u8, line: &str) {
        self.log.line(level, line);
    }

    fn counter_add(&self, slot: u32, delta: i64) -> Option<i64> {
        let counter = self.parts().counters.get(slot as usize)?;
        // Relaxed: a counter orders nothing else.
        Some(counter.fetch_add(delta, Ordering::Relaxed).wrapping_add(delta))
    }

    fn kv_get(&self, key: &[u8]) -> Option<Arc<[u8]>> {
        self.parts().map.read().get(key, virtual_time::now)
    }

    fn kv_set(&self, key: &[u8], value: &[u8]) -> Result<(), i32> {
        self.parts().map.write().set(key, value, None, virtual_time::now)
    }

    fn kv_set_for(&self, key: &[u8], value: &[u8], keep: Duration) -> Result<(), i32> {
        let mut map = self.parts().map.write();
        if keep.is_zero() {
            map.remove(key);
            return Ok(());
        }
        map.set(key, value, Some(keep), virtual_time::now)
    }

    fn tmp_full(&self) {
        self.log.tmp_full();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept() -> Arc<Kept> {
        Kept::new(Arc::new(PluginLog::new("p")))
    }

    #[test]
    fn counters_are_shared_and_slots_are_checked() {
        let kept = kept();
        assert_eq!(kept.counter_add(3, 5), Some(5));
        assert_eq!(kept.counter_add(3, -2), Some(3));
        assert_eq!(kept.counter_add(64, 1), None);
    }

    #[tokio::test]
    async fn fork_starts_equal_and_changes_alone() {
        let stable = kept();
        stable.counter_add(0, 7);
        stable.kv_set(b"k", b"v").unwrap();
        *stable.rows().try_lock().unwrap() = b"state".to_vec();
        let fork = stable.fork().await;
        assert_eq!(*fork.rows().try_lock().unwrap(), b"state");
        assert_eq!(fork.counter_add(0, 1), Some(8));
        fork.kv_set(b"k", b"w").unwrap();
        *fork.rows().try_lock().unwrap() = b"other".to_vec();
        fork.expect_rows();
        assert_eq!(stable.counter_add(0, 0), Some(7));
        assert_eq!(stable.kv_get(b"k").as_deref(), Some(&b"v"[..]));
        assert_eq!(*stable.rows().try_lock().unwrap(), b"state");
        assert!(!stable.returns_rows());
    }

    #[tokio::test]
    async fn times_of_entries_outlive_forks_and_promotions() {
        let stable = kept();
        stable.limit_map(MapLimits { max_bytes: 100, max_entries: 1 });
        stable.kv_set_for(b"k", b"v", Duration::from_secs(3600)).unwrap();
        let canary = stable.fork().await;
        assert_eq!(canary.kv_get(b"k").as_deref(), Some(&b"v"[..]));
        assert_eq!(canary.kv_set(b"more", b""), Err(host_function::KV_FULL), "limits are copied");
        canary.kv_set_for(b"k", b"", Duration::ZERO).unwrap();
        assert_eq!((canary.kv_get(b"k"), stable.kv_get(b"k").is_some()), (None, true));
        canary.join_as_canary(&stable);
        canary.kv_set_for(b"more", b"", Duration::from_millis(1)).unwrap();
        std::thread::sleep(Duration::from_millis(2));
        assert_eq!(canary.kv_get(b"more"), None);
        canary.kv_set(b"again", b"").unwrap();
    }

    #[tokio::test]
    async fn promoted_canary_adds_its_counts_and_keeps_its_map() {
        let stable = kept();
        stable.counter_add(0, 7);
        let canary = stable.fork().await;
        canary.counter_add(0, 2);
        stable.counter_add(0, 10);
        canary.kv_set(b"k", b"canary").unwrap();
        stable.kv_set(b"k", b"stable").unwrap();
        canary.join_as_canary(&stable);
        assert_eq!(canary.counter_add(0, 0), Some(19));
        assert_eq!(stable.counter_add(0, 1), Some(20), "both count in one place from now on");
        assert_eq!(canary.counter_add(0, 0), Some(20));
        assert_eq!(canary.kv_get(b"k").as_deref(), Some(&b"canary"[..]));
        assert_eq!(stable.kv_get(b"k").as_deref(), Some(&b"stable"[..]), "to go back to");
    }

    #[tokio::test]
    async fn promoted_shadow_takes_what_the_stable_generation_keeps() {
        let stable = kept();
        let shadow = stable.fork().await;
        shadow.counter_add(0, 2);
        shadow.kv_set(b"k", b"shadow").unwrap();
        stable.kv_set(b"k", b"stable").unwrap();
        shadow.join_as_shadow(&stable);
        assert_eq!(shadow.counter_add(0, 0), Some(0));
        assert_eq!(shadow.kv_get(b"k").as_deref(), Some(&b"stable"[..]));
    }

    #[tokio::test]
    async fn map_and_state_go_back_to_where_they_were_saved() {
        let kept = kept();
        kept.kv_set(b"k", b"good").unwrap();
        *kept.rows().lock().await = b"good".to_vec();
        let saved = kept.save().await;
        kept.kv_set(b"k", b"bad").unwrap();
        kept.kv_set(b"more", b"bad").unwrap();
        *kept.rows().lock().await = b"bad".to_vec();
        kept.restore(saved).await;
        assert_eq!(kept.kv_get(b"k").as_deref(), Some(&b"good"[..]));
        assert_eq!(kept.kv_get(b"more"), None);
        assert_eq!(*kept.rows().lock().await, b"good");
    }
}
