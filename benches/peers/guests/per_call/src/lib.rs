//! `least_connections` for hosts that make an instance per call: a core module, and with the
//! interface in `encode/src/component.wit` a component. The exports are those of the canonical ABI for
//! `select: func(message: list<u8>) -> s64`, written by hand so that both are the same module.

use std::alloc::Layout;

/// Room for an argument.
///
/// # Safety
///
/// Only new room is given, which is all that arguments need.
#[expect(unsafe_code, reason = "the name is the canonical ABI's")]
#[unsafe(no_mangle)]
pub extern "C" fn cabi_realloc(_old: *mut u8, _old_size: usize, align: usize, size: usize) -> *mut u8 {
    match Layout::from_size_align(size.max(1), align) {
        // SAFETY: the layout's size is at least 1.
        Ok(layout) => unsafe { std::alloc::alloc(layout) },
        Err(_) => std::ptr::null_mut(),
    }
}

/// The index of the chosen worker, or -1. The message came from [`cabi_realloc`] and is not given
/// back: the instance ends with this call.
///
/// # Safety
///
/// The host wrote `length` bytes at `message`.
#[expect(unsafe_code, reason = "the canonical ABI passes pointers")]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn select(message: *const u8, length: usize) -> i64 {
    // SAFETY: the caller's promise.
    let message = unsafe { std::slice::from_raw_parts(message, length) };
    match peer_policy::ready().select(message) {
        [index @ 0..=0x7f] => i64::from(*index),
        [0xcc, index] => i64::from(*index),
        [0xcd, high, low] => i64::from(u16::from_be_bytes([*high, *low])),
        _ => -1,
    }
}
