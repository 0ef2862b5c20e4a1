//! What does not keep a router from starting, but is hardly intended.

use std::path::Path;

use crate::cli::stray_variables::{StrayVariable, stray_variables};

use crate::admin::kept_workers::KeptWorkers;
use crate::config::checked::CheckedConfig;
use crate::config::files::settings_without_module;
use sglang_router_rs::types::{shown, shown_path};

/// Something that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Oddity {
    /// The key or the variable; of a file, what names it or its directory.
    pub(crate) key: String,
    /// Which file, if it is one.
    pub(crate) file: Option<String>,
    /// What is odd.
    pub(crate) text: String,
    /// What to do.
    pub(crate) remedy: String,
}

impl Oddity {
    pub(crate) fn new(key: impl Into<String>, text: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { key: key.into(), file: None, text: text.into(), remedy: remedy.into() }
    }

    fn of_file(self, file: &Path) -> Self {
        Self { file: Some(shown_path(file)), ..self }
    }
}

/// All of them.
pub(crate) fn oddities(config: &CheckedConfig) -> Vec<Oddity> {
    let token = config.admin_token_file.as_deref().filter(|file| others_read(file)).map(|file| {
        let text = "every user of this machine can read the operators' token; allow its owner only";
        Oddity::new("admin.token_file", text, "chmod 600 FILE").of_file(file)
    });
    let lonely = config.plugin_dir.as_deref().map(settings_without_module).unwrap_or_default();
    let lonely = lonely.into_iter().map(|file| {
        let text = "not used: there is no module (.wasm) of this name beside these settings";
        Oddity::new("plugin_dir", text, "put the module beside it, or remove it").of_file(&file)
    });
    token
        .into_iter()
        .chain(lonely)
        .chain(no_workers(config))
        .chain(stray_variables().iter().map(unread))
        .collect()
}

/// A router that has no workers, and nobody who would tell of any.
fn no_workers(config: &CheckedConfig) -> Option<Oddity> {
    let kept = config.state_dir.as_deref().is_some_and(KeptWorkers::are_in);
    let is_fed = !config.workers.is_empty() || !config.sources.are_none() || kept;
    (!is_fed).then(|| {
        let text = "there are none, and no source of them: every request is answered with 503 until an operator adds one";
        let remedy = "--worker-urls URL …, or a source of docs/workers.md; or add them with `sgl-router worker add`";
        Oddity::new("workers", text, remedy)
    })
}

/// A variable that looks like one of the router's.
fn unread(StrayVariable { name, meant }: &StrayVariable) -> Oddity {
    let (text, remedy) = match meant {
        Some(meant) => (
            format!("no flag has this variable, so it has no effect; did you mean {meant}?"),
            format!("{meant}, if that was meant; or take it out of the environment"),
        ),
        None => (
            "no flag has this variable, so it has no effect".to_owned(),
            "`sgl-router serve --help` names the variable of each flag".to_owned(),
        ),
    };
    Oddity::new(shown(name), text, remedy)
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
