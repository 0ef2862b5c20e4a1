//! How modules are compiled.

use serde::{Deserialize, Serialize};

/// How modules are compiled: section `compile`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CompileSection {
    /// True if modules are compiled on a thread of the router, which nothing can end and whose memory
    /// nothing limits. Default: false, each in a process of its own.
    pub in_process: bool,
    /// Bytes of memory that the process may take: 64 MiB or more. Default: 1 GiB.
    pub max_memory: u64,
    /// Seconds that it may take, of the clock and of processors: 1 to 3600. Default: 60.
    pub max_secs: u64,
}

impl Default for CompileSection {
    fn default() -> Self {
        Self { in_process: false, max_memory: 1 << 30, max_secs: 60 }
    }
}
