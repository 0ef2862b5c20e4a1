//! Why a change of a plugin was refused.

use crate::manage::kept_plugin::BadFile;
use sgl_oci::RegistryError;
use sglang_router_rs::config::{Rollout, RolloutMode};
use sglang_router_rs::policies::{OperationError, PluginError};
use sglang_router_rs::types::{in_full, shown};

/// Why a change was refused. Nothing has changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ManageError {
    /// The settings cannot be read.
    #[error("the settings cannot be used: {reason}")]
    Settings {
        /// What is wrong.
        reason: String,
    },
    /// A file was named, but the router has no plugin directory.
    #[error(
        "the router has no plugin directory (--plugin-dir); send the module's bytes instead, or name oci://… or embedded:…"
    )]
    NoPluginDir,
    /// The named file is not in the plugin directory.
    #[error("{file:?} names no file in the plugin directory; allowed: the plain name of a file there")]
    OutsidePluginDir {
        /// What was named.
        file: String,
    },
    /// The router places requests with this plugin right now.
    #[error("plugin `{name}` is the policy that the router uses; to unload it all the same, force it")]
    InUse {
        /// The plugin.
        name: String,
    },
    /// The first load of a plugin asked for a canary or a shadow.
    #[error(
        "`{name}` is a new plugin; there is nothing to be a {rollout} against; names in use: {names} \
         (load it at once, or name the plugin that it is to replace)"
    )]
    NothingBeside {
        /// The name.
        name: String,
        /// Canary or shadow.
        rollout: RolloutMode,
        /// The names of all plugins.
        names: String,
    },
    /// The plugin or its new generation is at fault.
    #[error(transparent)]
    Plugin(#[from] PluginError),
    /// A module does not start with keys of its configuration that another module's plugin had under the same
    /// name.
    #[error(
        "{}; {} come from the plugin that serves under this name; what this module does not have is dropped by \
         `--config KEY=null`, over HTTP by {{\"config\": {{\"KEY\": null}}}}",
        in_full(source),
        keys.join(", ")
    )]
    Inherited {
        /// What it said.
        source: PluginError,
        /// The keys.
        keys: Vec<String>,
    },
    /// The module's registry, or the module there.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// The operation does not fit the plugin's state.
    #[error(transparent)]
    Operation(OperationError),
    /// The state directory could not be written.
    #[error("the state directory cannot be written: {0}")]
    State(#[from] BadFile),
    /// The router is about to end.
    #[error("the router is stopping")]
    Stopping,
}

impl From<OperationError> for ManageError {
    fn from(error: OperationError) -> Self {
        match error {
            OperationError::Plugin(error) => Self::Plugin(error),
            other => Self::Operation(other),
        }
    }
}

impl ManageError {
    /// The error of a load whose configuration has these keys of the plugin before.
    pub(crate) fn of_load(source: PluginError, inherited: Vec<String>) -> Self {
        if matches!(source, PluginError::Start { .. }) && !inherited.is_empty() {
            let mut keys: Vec<String> = inherited.iter().map(|key| format!("`{}`", shown(key))).collect();
            keys.sort();
            Self::Inherited { source, keys }
        } else {
            Self::Plugin(source)
        }
    }

    /// A plugin that is new cannot be a canary or a shadow: there is none of these names beside it.
    pub(crate) fn nothing_beside(name: &str, rollout: Rollout, names: &[String]) -> Self {
        let names = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
        Self::NothingBeside { name: shown(name), rollout: rollout.mode(), names }
    }
}
