//! What a guest may ask of the host.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// What the host does for a plugin's guests. None of it may block, or take long.
///
/// Implemented above the engine, which does not know what a plugin is.
pub trait HostServices: Send + Sync + fmt::Debug {
    /// A log line of the guest: 0 error, 1 warn, 2 info, 3 debug, 4 trace. The implementation limits the
    /// rate.
    fn log(&self, level: u8, line: &str);

    /// Adds to a counter and returns its new value; `None` if there is no such slot.
    fn counter_add(&self, slot: u32, delta: i64) -> Option<i64>;

    /// A value of the shared map.
    fn kv_get(&self, key: &[u8]) -> Option<Arc<[u8]>>;

    /// Stores a value; an error is the ABI's negative code.
    ///
    /// # Errors
    ///
    /// The code says which limit was met.
    fn kv_set(&self, key: &[u8], value: &[u8]) -> Result<(), i32>;

    /// Stores a value for that time; none removes it. An error is the ABI's negative code.
    ///
    /// # Errors
    ///
    /// The code says which limit was met.
    fn kv_set_for(&self, key: &[u8], value: &[u8], keep: Duration) -> Result<(), i32>;

    /// A call was refused because the private directory is full.
    fn tmp_full(&self);
}
