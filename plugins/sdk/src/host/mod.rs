//! What the router offers a plugin while it runs: log lines, counters, a small map.
//!
//! None of it blocks, and none of it needs a permission. Counters and the map
//! are shared by all instances of the plugin and kept across its generations.
//! Outside the router (native tests) each thread has its own stand-ins.

mod level;

#[cfg(not(target_arch = "wasm32"))]
pub(crate) mod native;
#[cfg(target_arch = "wasm32")]
mod wasm;

mod functions;

pub use crate::host::functions::{KvError, count, counter_add, kv_get, kv_remove, kv_set, kv_set_for, log};
pub use crate::host::level::Level;
