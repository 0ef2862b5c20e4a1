//! Where workers come from.

use std::fmt;

/// What has the router know of a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum WorkerSource {
    /// The configuration: its file and flags.
    Config,
    /// An operator who added it while the router ran.
    Operator,
    /// The watched file.
    File,
    /// A name that is looked up.
    Dns,
    /// Pods.
    Kubernetes,
}

impl WorkerSource {
    /// Its name in lists, metrics and logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Config => "config",
            Self::Operator => "operator",
            Self::File => "file",
            Self::Dns => "dns",
            Self::Kubernetes => "kubernetes",
        }
    }
}

impl fmt::Display for WorkerSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
