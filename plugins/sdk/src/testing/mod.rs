//! Runs a policy natively, through the messages that the router would send.
//!
//! [`Harness`] plays the router: it encodes the worker table, the signals and
//! the request as the ABI says, hands them to the same guest code that the Wasm
//! exports call, and decodes the answer. A hook that the plugin does not export
//! is not called, so a forgotten one shows up here.

mod fleet;
mod harness;
mod message;

use alloc::string::String;
use alloc::vec::Vec;

pub use crate::testing::fleet::Request;
pub use crate::testing::fleet::Worker;
pub use crate::testing::harness::Decision;
pub use crate::testing::harness::Harness;
pub use crate::testing::harness::PairDecision;

use crate::host::Level;
use crate::host::native;

/// Takes the lines that this thread's plugins logged since the last call.
#[must_use]
pub fn take_logged() -> Vec<(Level, String)> {
    native::take_logged()
}

/// Forgets this thread's log lines, counters and shared map.
pub fn reset_host() {
    native::reset();
}
