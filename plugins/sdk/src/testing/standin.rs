//! What plugins did through the host functions of this thread.

use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

use crate::host::{Level, native};

/// Takes the lines that this thread's plugins logged since the last call.
#[must_use]
pub fn take_logged() -> Vec<(Level, String)> {
    native::take_logged()
}

/// Forgets this thread's log lines, counters and shared map.
pub fn reset_host() {
    native::reset();
}

/// Lets time pass for the entries of the shared map that are kept for a time only.
pub fn pass_time(time: Duration) {
    native::pass(u64::try_from(time.as_millis()).unwrap_or(u64::MAX));
}

/// What the shared map may hold from now on, as an operator says with `max_map_bytes` and
/// `max_map_entries`.
pub fn limit_map(max_bytes: usize, max_entries: usize) {
    native::limit_map(max_bytes, max_entries);
}
