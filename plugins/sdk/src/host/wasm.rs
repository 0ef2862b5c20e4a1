//! The real thing: imports from the router.

use crate::host::level::Level;

mod import {
    #[link(wasm_import_module = "sgl")]
    #[expect(unsafe_code, reason = "imports are declared in an unsafe block")]
    unsafe extern "C" {
        pub(super) fn log(level: i32, ptr: *const u8, len: usize);
        pub(super) safe fn counter_add(slot: i32, delta: i64) -> i64;
        pub(super) fn kv_get(kptr: *const u8, klen: usize, out: *mut u8, cap: usize) -> i32;
        pub(super) fn kv_set_for(
            kptr: *const u8,
            klen: usize,
            vptr: *const u8,
            vlen: usize,
            ttl_ms: u32,
        ) -> i32;
        pub(super) fn kv_set(kptr: *const u8, klen: usize, vptr: *const u8, vlen: usize) -> i32;
    }
}

pub(super) fn log(level: Level, message: &str) {
    let number = match level {
        Level::Error => 0,
        Level::Warn => 1,
        Level::Info => 2,
        Level::Debug => 3,
        Level::Trace => 4,
    };
    #[expect(unsafe_code, reason = "the host reads a slice of this memory")]
    // SAFETY: the host only reads `message.len()` bytes, which are borrowed here.
    unsafe {
        import::log(number, message.as_ptr(), message.len());
    }
}

pub(super) fn counter_add(slot: u32, delta: i64) -> i64 {
    import::counter_add(slot.cast_signed(), delta)
}

pub(super) fn kv_get(key: &str, out: &mut [u8]) -> i32 {
    #[expect(unsafe_code, reason = "the host fills a slice of this memory")]
    // SAFETY: the host reads the key and writes at most `out.len()` bytes to
    // `out`, both borrowed here.
    unsafe {
        import::kv_get(key.as_ptr(), key.len(), out.as_mut_ptr(), out.len())
    }
}

pub(super) fn kv_set(key: &str, value: &[u8]) -> i32 {
    #[expect(unsafe_code, reason = "the host reads slices of this memory")]
    // SAFETY: the host only reads key and value, both borrowed here.
    unsafe {
        import::kv_set(key.as_ptr(), key.len(), value.as_ptr(), value.len())
    }
}

pub(super) fn kv_set_for(key: &str, value: &[u8], ttl_ms: u32) -> i32 {
    #[expect(unsafe_code, reason = "the host reads slices of this memory")]
    // SAFETY: the host only reads key and value, both borrowed here.
    unsafe {
        import::kv_set_for(key.as_ptr(), key.len(), value.as_ptr(), value.len(), ttl_ms)
    }
}
