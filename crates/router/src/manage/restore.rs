//! Loads the last good set of the state directory at start, and keeps the directory up to date.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio_util::sync::CancellationToken;

use crate::manage::embedded::is_embedded;
use crate::manage::kept_plugin::{BadFile, KeptPlugin};
use crate::manage::kept_set::Change;
use crate::manage::manager::PluginManager;
use crate::manage::module_sources::UPLOADED;
use crate::manage::state_dir::StateDir;
use sglang_router_rs::policies::{Load, ModuleBytes, Origin, PolicyFactory};
use sglang_router_rs::types::hex;

/// Time after which a failed write is tried again.
const RETRY: Duration = Duration::from_millis(250);

/// Loads the plugins of a state directory, `policy` with these settings before its own; a name that is loaded
/// already stays as it is. Entries whose
/// names were taken or failed to load stay until an operator changes the plugin.
///
/// # Errors
///
/// [`BadFile`] if `policy` is among the bad ones; others are logged.
///
/// # Cancel safety
///
/// Dropping the future leaves the plugins that were loaded so far.
pub(crate) async fn restore(
    state: &StateDir,
    factory: &PolicyFactory,
    policy: &str,
    settings: &HashMap<String, Value>,
) -> Result<(), BadFile> {
    let mut untouched = BTreeSet::new();
    for mut plugin in state.plugins() {
        let name = plugin.config.name.clone();
        if name == policy {
            plugin.config.config.extend(settings.clone());
        }
        if let Some(serving) = factory.plugin_detail(&name) {
            let digest = plugin.digest;
            if serving.generations.iter().any(|one| one.digest == digest) {
                tracing::info!(plugin = name, digest, "the configuration has what was pushed, too");
            } else {
                tracing::warn!(
                    plugin = name,
                    digest,
                    "the configuration wins over the state directory: what was pushed under this name does not serve"
                );
            }
            untouched.insert(name);
            continue;
        }
        match load(state, factory, plugin).await {
            Ok(generation) => tracing::info!(plugin = name, generation, "loaded from the state directory"),
            Err(error) if name == policy => return Err(error),
            Err(error) => {
                tracing::error!(plugin = name, %error, "not loaded from the state directory");
                untouched.insert(name);
            }
        }
    }
    state.leave(untouched);
    Ok(())
}

async fn load(state: &StateDir, factory: &PolicyFactory, plugin: KeptPlugin) -> Result<u64, BadFile> {
    let wasm = state.read_module(&plugin.digest)?;
    let file = state.module_file(&plugin.digest);
    let origin = match plugin.origin {
        // Rules about signatures do not bind it, so the list must not be able to say it of another module.
        Some(Origin::Embedded) if !is_embedded(&plugin.digest) => Origin::Push,
        Some(origin) => origin,
        None if plugin.config.module_path == UPLOADED => Origin::Push,
        None => Origin::file(&plugin.config.module_path),
    };
    // A signature that is not hex counts as missing; the rules about signatures then decide.
    let signature = plugin.signature.as_deref().and_then(hex::decode);
    let module = ModuleBytes { wasm, signature, origin };
    let loaded = factory.load(Load::module(plugin.config, module).with(plugin.options)).await;
    loaded.map(|info| info.generation).map_err(|error| BadFile { file, reason: error.to_string() })
}

/// Keeps the state directory up to date with changes that no operator made, until it is stopped.
///
/// # Cancel safety
///
/// Dropping the future stops it.
pub(crate) async fn keep_up(manager: Arc<PluginManager>, stop: CancellationToken) {
    let mut changes = manager.factory().changes();
    let mut known = Vec::new();
    loop {
        // Before recording: a change after this point is seen in the next turn.
        changes.mark_unchanged();
        let infos = manager.factory().plugin_infos();
        let now: Vec<(String, u64)> = infos.into_iter().map(|info| (info.name, info.generation)).collect();
        let is_kept = now == known || manager.record(Change::ByItself).await;
        if is_kept {
            known = now;
        }
        tokio::select! {
            // Cannot fail: the manager holds the sender.
            _ = changes.changed() => {}
            () = tokio::time::sleep(RETRY), if !is_kept => {}
            () = stop.cancelled() => return,
        }
    }
}
