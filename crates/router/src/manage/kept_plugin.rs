//! A plugin as kept over a restart, and the error for files that cannot be used.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use sglang_router_rs::config::{PluginOptions, Rollout, WasmPolicyConfig};
use sglang_router_rs::policies::{Origin, PluginInfo};
use sglang_router_rs::types::{hex, shown_path};

/// A plugin as it is kept.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct KeptPlugin {
    /// SHA-256 of its module, 64 hex digits.
    pub digest: String,
    /// What it was loaded with; its name is in it.
    pub config: WasmPolicyConfig,
    /// What it was loaded with.
    pub options: PluginOptions,
    /// Where its module came from: every start applies the rules about signatures to it. Lists of older
    /// routers lack it; then `module_path` tells.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<Origin>,
    /// The detached signature that came with its module, in hex.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signature: Option<String>,
}

impl KeptPlugin {
    /// What serves, in the form that is kept.
    pub(crate) fn of(mut info: PluginInfo) -> Self {
        // That rollout is over, and is not repeated at a restart.
        info.options.rollout = Rollout::Immediate;
        let origin = Some(info.provenance.origin);
        let signature = info.detached_signature.map(|bytes| hex::encode(&bytes));
        Self { digest: info.digest, config: info.config, options: info.options, origin, signature }
    }
}

/// A file of the directory that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{}: {reason}", shown_path(file))]
pub struct BadFile {
    /// Which.
    pub file: PathBuf,
    /// What is wrong with it.
    pub reason: String,
}

impl BadFile {
    pub(crate) fn new(file: &Path, reason: impl ToString) -> Self {
        Self { file: file.to_owned(), reason: reason.to_string() }
    }
}
