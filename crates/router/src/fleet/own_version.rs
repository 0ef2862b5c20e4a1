//! What a router served under a name before its fleet did.

use serde::{Deserialize, Serialize};

use crate::manage::module_sources::UPLOADED;
use sglang_router_rs::config::{PluginOptions, Rollout, WasmPolicyConfig};
use sglang_router_rs::policies::PluginInfo;

/// What a router served under a name before its fleet did: of its configuration, its plugin directory or a push
/// to it alone. It comes back when the fleet serves nothing there any more.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct OwnVersion {
    /// Its generation in this process; that of another process says nothing.
    #[serde(skip)]
    pub(crate) local: u64,
    /// SHA-256 of its module.
    pub(crate) digest: String,
    /// Where its module is, and its settings.
    pub(crate) config: WasmPolicyConfig,
    /// The rest of its settings.
    pub(crate) options: PluginOptions,
}

impl OwnVersion {
    /// What serves now.
    pub(crate) fn of(info: &PluginInfo) -> Self {
        // It comes back at once, however it came.
        let options = PluginOptions { rollout: Rollout::Immediate, ..info.options.clone() };
        let (digest, config) = (info.digest.clone(), info.config.clone());
        Self { local: info.generation, digest, config, options }
    }

    /// Where its module can be read again; `None`: it was sent, and nobody kept it.
    pub(crate) fn source(&self) -> Option<&str> {
        Some(self.config.module_path.as_str()).filter(|path| !path.is_empty() && *path != UPLOADED)
    }
}
