//! What plugins did through the host functions of this thread.

use alloc::string::String;
use alloc::vec::Vec;

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
