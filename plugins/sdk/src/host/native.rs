//! Stand-ins for native tests, one set per thread, with the router's limits.

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;
use core::cell::RefCell;
use core::mem;

use sgl_policy_abi::host_function;

use crate::host::level::Level;

struct Standin {
    logged: Vec<(Level, String)>,
    counters: BTreeMap<u32, i64>,
    map: BTreeMap<String, StandinEntry>,
    max_bytes: usize,
    max_entries: usize,
    /// Milliseconds that a test let pass.
    now: u64,
}

struct StandinEntry {
    value: Vec<u8>,
    /// When it ends.
    until: Option<u64>,
}

impl Default for Standin {
    fn default() -> Self {
        Self {
            logged: Vec::new(),
            counters: BTreeMap::new(),
            map: BTreeMap::new(),
            max_bytes: host_function::KV_TOTAL_BYTES,
            max_entries: host_function::KV_ENTRIES,
            now: 0,
        }
    }
}

std::thread_local! {
    static STANDIN: RefCell<Standin> = RefCell::default();
}

fn with<T>(act: impl FnOnce(&mut Standin) -> T) -> T {
    STANDIN.with_borrow_mut(act)
}

/// Takes the lines that were logged since the last call.
pub(crate) fn take_logged() -> Vec<(Level, String)> {
    with(|standin| mem::take(&mut standin.logged))
}

/// Forgets everything.
pub(crate) fn reset() {
    with(|standin| *standin = Standin::default());
}

pub(super) fn log(level: Level, message: &str) {
    with(|standin| standin.logged.push((level, String::from(message))));
}

pub(super) fn counter_add(slot: u32, delta: i64) -> i64 {
    with(|standin| {
        let counter = standin.counters.entry(slot).or_default();
        *counter = counter.wrapping_add(delta);
        *counter
    })
}

pub(super) fn kv_get(key: &str, out: &mut [u8]) -> i32 {
    with(|standin| {
        let Some(StandinEntry { value, .. }) = standin.map.get(key) else {
            return host_function::KV_NOT_FOUND;
        };
        let Some(space) = out.get_mut(..value.len()) else {
            return host_function::KV_BUFFER_TOO_SMALL;
        };
        space.copy_from_slice(value);
        i32::try_from(value.len()).unwrap_or(host_function::KV_BAD_ARGUMENT)
    })
}

pub(super) fn kv_set(key: &str, value: &[u8]) -> i32 {
    store(key, value, None)
}

pub(super) fn kv_set_for(key: &str, value: &[u8], ttl_ms: u32) -> i32 {
    if ttl_ms == 0 {
        with(|standin| standin.map.remove(key));
        return 0;
    }
    store(key, value, Some(u64::from(ttl_ms)))
}

/// Lets the time of entries pass.
pub(crate) fn pass(millis: u64) {
    with(|standin| {
        standin.now = standin.now.saturating_add(millis);
        let now = standin.now;
        standin.map.retain(|_, entry| entry.until.is_none_or(|until| until > now));
    });
}

/// What the map may hold from now on.
pub(crate) fn limit_map(max_bytes: usize, max_entries: usize) {
    with(|standin| (standin.max_bytes, standin.max_entries) = (max_bytes, max_entries));
}

fn store(key: &str, value: &[u8], ttl_ms: Option<u64>) -> i32 {
    if value.len() > host_function::KV_VALUE_BYTES {
        return host_function::KV_VALUE_TOO_LARGE;
    }
    with(|standin| {
        let others = || standin.map.iter().filter(|(other, _)| *other != key);
        let held: usize = others().map(|(key, entry)| key.len() + entry.value.len()).sum();
        if held + key.len() + value.len() > standin.max_bytes || others().count() >= standin.max_entries {
            return host_function::KV_FULL;
        }
        let until = ttl_ms.map(|ttl_ms| standin.now.saturating_add(ttl_ms));
        standin.map.insert(String::from(key), StandinEntry { value: Vec::from(value), until });
        0
    })
}
