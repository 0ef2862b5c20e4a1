//! The functions, over the import or its stand-in.

use alloc::vec::Vec;
use core::time::Duration;

use sgl_policy_abi::host_function;

use crate::host::level::Level;
#[cfg(not(target_arch = "wasm32"))]
use crate::host::native as backend;
#[cfg(target_arch = "wasm32")]
use crate::host::wasm as backend;

/// Why the shared map did not do what was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum KvError {
    /// The value is longer than 64 KiB.
    ValueTooLarge,
    /// The map would hold more than the operator's `max_map_bytes` (1 MiB), or more than
    /// `max_map_entries` (16,384).
    Full,
    /// The host refuses the key, or answered with a code that this SDK does not know.
    Refused(i32),
}

/// Writes a log line through the router, rate limited per plugin. See [`log!`](crate::log!)
/// for one with values in it.
pub fn log(level: Level, message: &str) {
    backend::log(level, message);
}

/// Adds `delta` to counter `slot` of 64 and returns its new value; none for a slot
/// that does not exist.
#[must_use = "to only add, use `count`"]
pub fn counter_add(slot: u32, delta: i64) -> Option<i64> {
    if slot < host_function::COUNTER_SLOTS { Some(backend::counter_add(slot, delta)) } else { None }
}

/// Adds one to counter `slot`; nothing for a slot that does not exist.
pub fn count(slot: u32) {
    let _ = counter_add(slot, 1);
}

/// The value of `key` in the shared map, or none.
///
/// # Errors
/// [`KvError::Refused`].
pub fn kv_get(key: &str) -> Result<Option<Vec<u8>>, KvError> {
    // Most values are small; a longer one costs a second call.
    let mut out = alloc::vec![0; 256];
    let mut code = backend::kv_get(key, &mut out);
    if code == host_function::KV_BUFFER_TOO_SMALL {
        out.resize(host_function::KV_VALUE_BYTES, 0);
        code = backend::kv_get(key, &mut out);
    }
    match usize::try_from(code) {
        Ok(len) => {
            out.truncate(len);
            Ok(Some(out))
        }
        Err(_) if code == host_function::KV_NOT_FOUND => Ok(None),
        Err(_) => Err(KvError::Refused(code)),
    }
}

/// Sets `key` in the shared map to `value`; the last writer wins.
///
/// # Errors
/// [`KvError`].
pub fn kv_set(key: &str, value: &[u8]) -> Result<(), KvError> {
    stored(backend::kv_set(key, value))
}

/// The same for a time, after which the entry is gone and its room is free: rounded up to milliseconds, 49
/// days at most.
///
/// # Errors
/// [`KvError`].
pub fn kv_set_for(key: &str, value: &[u8], keep: Duration) -> Result<(), KvError> {
    let millis = u32::try_from(keep.as_nanos().div_ceil(1_000_000)).unwrap_or(u32::MAX);
    stored(backend::kv_set_for(key, value, millis))
}

/// Removes `key` from the shared map, if it is there.
///
/// # Errors
/// [`KvError::Refused`].
pub fn kv_remove(key: &str) -> Result<(), KvError> {
    stored(backend::kv_set_for(key, &[], 0))
}

fn stored(code: i32) -> Result<(), KvError> {
    match code {
        0 => Ok(()),
        host_function::KV_VALUE_TOO_LARGE => Err(KvError::ValueTooLarge),
        host_function::KV_FULL => Err(KvError::Full),
        code => Err(KvError::Refused(code)),
    }
}
