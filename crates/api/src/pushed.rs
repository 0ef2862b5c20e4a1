//! What came of a load, as operators are told.

use std::time::Instant;

use serde::{Deserialize, Serialize};

use sglang_router_rs::config::RolloutMode;
use sglang_router_rs::policies::PluginInfo;

/// What came of a load.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct Pushed {
    /// The plugin.
    pub name: String,
    /// The number of the new generation.
    pub generation: u64,
    /// SHA-256 of its module, 64 hex digits.
    pub digest: String,
    /// Where its module came from: a path, `embedded:NAME`, or a reference to a registry with the digest that
    /// its tag stands for; `(uploaded)` if it was sent.
    #[serde(default)]
    pub module: String,
    /// Version that the module's manifest states.
    pub version: String,
    /// True if no plugin of that name was loaded before.
    pub created: bool,
    /// How it takes over; `immediate`: it has.
    pub rollout: RolloutMode,
    /// The generation that was a canary or a shadow and had to go for this one; left out if there was none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub displaced: Option<u64>,
    /// True if the router places requests with this plugin.
    pub in_use: bool,
    /// What a restart comes back with.
    pub after_restart: AfterRestart,
    /// Milliseconds that all of it took.
    pub elapsed_ms: u64,
}

/// What a restart comes back with under the name of a plugin that was loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum AfterRestart {
    /// With this plugin: the state directory keeps it.
    Kept,
    /// With what the configuration says of this name: flags, file and plugin directory win.
    Configured,
    /// With no such plugin: there is no state directory.
    Gone,
}

impl Pushed {
    /// The load of a plugin: whether it created it and when it began.
    pub fn new(
        info: PluginInfo,
        (created, began): (bool, Instant),
        in_use: bool,
        after_restart: AfterRestart,
    ) -> Self {
        // The first generation has nobody to take over from.
        let rollout = if created { RolloutMode::Immediate } else { info.options.rollout.mode() };
        Self {
            name: info.name,
            generation: info.generation,
            digest: info.digest,
            module: info.config.module_path,
            version: info.manifest.version,
            created,
            rollout,
            displaced: info.displaced,
            in_use,
            after_restart,
            elapsed_ms: u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX),
        }
    }
}
