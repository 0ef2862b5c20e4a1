//! Stand-ins for native tests, one set per thread, with the router's limits.

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;
use core::cell::RefCell;
use core::mem;

use sgl_policy_abi::host_function;

use crate::host::level::Level;

#[derive(Default)]
struct Standin {
    logged: Vec<(Level, String)>,
    counters: BTreeMap<u32, i64>,
    map: BTreeMap<String, Vec<u8>>,
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
        let Some(value) = standin.map.get(key) else {
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
    if value.len() > host_function::KV_VALUE_BYTES {
        return host_function::KV_VALUE_TOO_LARGE;
    }
    with(|standin| {
        let others = standin.map.iter().filter(|(other, _)| *other != key);
        let held: usize = others.map(|(key, value)| key.len() + value.len()).sum();
        if held + key.len() + value.len() > host_function::KV_TOTAL_BYTES {
            return host_function::KV_FULL;
        }
        standin.map.insert(String::from(key), Vec::from(value));
        0
    })
}
