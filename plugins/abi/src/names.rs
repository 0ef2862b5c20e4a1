//! Names and numbers that host and guest must agree on.

/// The ABI version that this crate describes.
pub const ABI_VERSION: u32 = 1;

/// The longest answer that the host reads, in bytes.
pub const MAX_RESULT_BYTES: usize = 1 << 20;

/// The custom section that holds a plugin's [`Manifest`](crate::Manifest).
pub const MANIFEST_SECTION: &str = "sgl.policy";

/// The import module of WASI preview 1 functions.
pub const WASI_MODULE: &str = "wasi_snapshot_preview1";

/// The import module of the router's own host functions.
pub const HOST_MODULE: &str = "sgl";

/// Names of a plugin's exports.
pub mod export {
    /// The one memory. Required.
    pub const MEMORY: &str = "memory";
    /// `(size: i32) -> i32`, a buffer for the host's messages, 0 when out of memory. Required.
    pub const ALLOC: &str = "alloc";
    /// `(ptr: i32, size: i32)`, gives such a buffer back. Required.
    pub const DEALLOC: &str = "dealloc";
    /// `()` or `(ptr, len) -> i64`, once per instance. Required.
    pub const INIT: &str = "init";
    /// `(ptr, len) -> i64` or `(ptr, len) -> i32`, one decision. Required.
    pub const SELECT_WORKER: &str = "select_worker";
    /// `(ptr, len) -> i64`, one joint prefill and decode decision.
    pub const SELECT_WORKER_PAIR: &str = "select_worker_pair";
    /// `(ptr, len)`, the worker table changed.
    pub const ON_WORKERS: &str = "on_workers";
    /// `(ptr, len)`, streamed answers that have begun, in batches.
    pub const ON_FIRST_TOKEN: &str = "on_first_token";
    /// `(ptr, len)`, finished requests, in batches.
    pub const ON_COMPLETE: &str = "on_complete";
    /// `(ptr, len)`, sessions that are over, in batches.
    pub const ON_SESSION_END: &str = "on_session_end";
    /// `() -> i64`, state to carry into the next generation.
    pub const SAVE_STATE: &str = "save_state";
    /// `(ptr, len)`, state of the previous generation.
    pub const RESTORE_STATE: &str = "restore_state";
    /// `()`, the constructor of a WASI reactor; the host calls it once before `init`.
    pub const INITIALIZE: &str = "_initialize";
}

/// Names of the functions that the router offers in [`HOST_MODULE`].
pub mod host_function {
    /// `(level: i32, ptr, len)`, one log line; levels are 0 error, 1 warn, 2 info, 3 debug, 4 trace.
    pub const LOG: &str = "log";
    /// `(slot: i32, delta: i64) -> i64`, adds to a shared counter and returns its new value.
    pub const COUNTER_ADD: &str = "counter_add";
    /// `(kptr, klen, out, cap) -> i32`, length of the value, or a negative error code.
    pub const KV_GET: &str = "kv_get";
    /// `(kptr, klen, vptr, vlen) -> i32`, 0, or a negative error code.
    pub const KV_SET: &str = "kv_set";
    /// `(kptr, klen, vptr, vlen, ttl_ms: i32) -> i32`, as `kv_set`, for so many milliseconds (unsigned); 0
    /// removes the entry.
    pub const KV_SET_FOR: &str = "kv_set_for";

    /// Counters that a plugin has; `counter_add` of another slot returns `i64::MIN`.
    pub const COUNTER_SLOTS: u32 = 64;
    /// Bytes of keys and values that a plugin's map may hold in all, unless the operator says otherwise.
    pub const KV_TOTAL_BYTES: usize = 1 << 20;
    /// Bytes that one value may have.
    pub const KV_VALUE_BYTES: usize = 64 << 10;

    /// Entries that a plugin's map may have, unless the operator says otherwise: each costs the host some hundred bytes besides.
    pub const KV_ENTRIES: usize = 16_384;

    /// `kv_get`: no such key.
    pub const KV_NOT_FOUND: i32 = -1;
    /// `kv_get`: the value is longer than the buffer that the guest offered; nothing was written.
    pub const KV_BUFFER_TOO_SMALL: i32 = -2;
    /// `kv_set`, `kv_set_for`: the value is longer than [`KV_VALUE_BYTES`].
    pub const KV_VALUE_TOO_LARGE: i32 = -3;
    /// `kv_set`, `kv_set_for`: the map would hold more than it may.
    pub const KV_FULL: i32 = -4;
    /// All: a pointer or length outside the guest's memory, or a key above 1024 bytes.
    pub const KV_BAD_ARGUMENT: i32 = -5;
}

/// Packs a guest pointer and a length into an `i64` result: `(ptr << 32) | len`.
#[inline]
#[must_use]
pub const fn pack(ptr: u32, len: u32) -> i64 {
    (((ptr as u64) << 32) | len as u64).cast_signed()
}

/// The pointer and the length of an `i64` result; the reverse of [`pack`].
#[inline]
#[must_use]
#[expect(clippy::cast_possible_truncation, reason = "each half is taken on purpose")]
pub const fn unpack(result: i64) -> (u32, u32) {
    let bits = result.cast_unsigned();
    ((bits >> 32) as u32, bits as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packed_result_survives_the_round_trip_at_the_edges() {
        for (ptr, len) in [(0, 0), (1, 2), (u32::MAX, u32::MAX), (0x8000_0000, 1), (7, u32::MAX)] {
            assert_eq!(unpack(pack(ptr, len)), (ptr, len));
        }
        assert_eq!(pack(1, 2), (1 << 32) | 2);
    }
}
