//! What a router says of itself, every 3 seconds and whenever it changes.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// What a router says of one plugin.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct PluginHealth {
    /// The fleet's generation that it serves; 0 = none of the fleet's.
    pub serving: u64,
    /// The one that it holds warm, if there is one.
    pub prepared: u64,
    /// The one that it could not make ready or that failed here, and why.
    pub failed: Option<FailedGeneration>,
    /// Whether its breaker keeps the plugin out of the path.
    pub breaker_open: bool,
    /// Whether it serves something else than the fleet gave it: somebody pushed to this router alone.
    pub diverged: bool,
    /// Decisions of the generation that serves.
    pub decisions: u64,
    /// Those that failed.
    pub failures: u64,
    /// The time that one decision in a hundred exceeds, in nanoseconds.
    pub p99_ns: Option<u64>,
    /// The revision of what it follows.
    pub revision: u64,
}

/// A generation that failed at a router.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailedGeneration {
    /// Its number in the fleet.
    pub generation: u64,
    /// Why.
    pub reason: String,
    /// Whether it is tried again: the module could not be had, which says nothing against it.
    #[serde(default)]
    pub is_passing: bool,
}

/// What a router says of itself.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct RouterPresence {
    /// Its name.
    pub router: String,
    /// A random name of the process: another one under the same name of a router is another router.
    pub life: u64,
    /// Version of its program.
    pub version: String,
    /// Where its operators' listener is.
    pub admin: String,
    /// The policy that places its requests.
    pub policy: String,
    /// The epoch that it follows.
    pub epoch: Option<String>,
    /// Why it follows nothing new, if it does not.
    pub holding: Option<String>,
    /// By names of plugins.
    pub plugins: BTreeMap<String, PluginHealth>,
}

impl RouterPresence {
    /// True if what it does counts for rollouts of this epoch.
    pub fn follows(&self, epoch: &str) -> bool {
        self.holding.is_none() && self.epoch.as_deref() == Some(epoch)
    }
}
