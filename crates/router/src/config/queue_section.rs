//! How many requests are served at a time, and which of the others wait.

use serde::{Deserialize, Serialize};

/// `[queue]`: how many requests are served at a time, and which of the others wait.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct QueueSection {
    /// Requests that are served at a time: 0 to 1,000,000, 0 = no limit. One more waits. Default: 0.
    pub max_concurrent_requests: usize,
    /// Requests that may wait: 0 to 1,000,000. One more is answered with 429. Default: 100.
    pub size: usize,
    /// Seconds that a request may wait, for whatever it waits: 1 to 86,400; then 503. Default: 60.
    pub timeout_secs: u64,
    /// Whether a request waits instead of being answered with 503 while no worker is ready.
    /// Default: false.
    pub wait_for_workers: bool,
}

impl Default for QueueSection {
    fn default() -> Self {
        Self { max_concurrent_requests: 0, size: 100, timeout_secs: 60, wait_for_workers: false }
    }
}
