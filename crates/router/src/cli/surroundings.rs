//! What does not keep a router from starting, but is hardly intended.

use std::path::Path;

use crate::config::checked::CheckedConfig;
use crate::config::files::settings_without_module;
use sglang_router_rs::types::shown_path;

/// A file that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Oddity {
    /// The key that names it, or its directory.
    pub(crate) key: &'static str,
    /// Which file.
    pub(crate) file: String,
    /// What is odd.
    pub(crate) text: &'static str,
    /// What to do.
    pub(crate) remedy: &'static str,
}

/// All of them.
pub(crate) fn oddities(config: &CheckedConfig) -> Vec<Oddity> {
    let token = config.admin_token_file.as_deref().filter(|file| others_read(file)).map(|file| Oddity {
        key: "admin.token_file",
        file: shown_path(file),
        text: "every user of this machine can read the operators' token; allow its owner only",
        remedy: "chmod 600 FILE",
    });
    let lonely = config.plugin_dir.as_deref().map(settings_without_module).unwrap_or_default();
    let lonely = lonely.into_iter().map(|file| Oddity {
        key: "plugin_dir",
        file: shown_path(&file),
        text: "not used: there is no module (.wasm) of this name beside these settings",
        remedy: "put the module beside it, or remove it",
    });
    token.into_iter().chain(lonely).collect()
}

#[cfg(unix)]
fn others_read(file: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    std::fs::metadata(file).is_ok_and(|facts| facts.permissions().mode() & 0o004 != 0)
}

#[cfg(not(unix))]
fn others_read(_: &Path) -> bool {
    false
}
