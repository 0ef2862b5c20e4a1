//! `fleet push`: what the fleet is to serve from now on.

use std::time::Duration;

use serde_json::{Map, Value, json};

use crate::cli::fleet::args::FleetPushArgs;
use crate::cli::plugin::command_error::CommandError;
use crate::cli::plugin::push::own_config;
use crate::cli::plugin::signing::detached;
use crate::cli::registry_reading::{module_bytes, reference_in};
use crate::config::embedded_path::embedded_name;
use crate::manage::Settings;
use sgl_fleet::desired_plugin::{DesiredPlugin, ModulePlace, PluginTarget, RolloutState, StepPlan};
use sgl_fleet::desired_set::RevisedPlugin;
use sgl_fleet::modules::{FleetModule, digest_of, keep_module};
use sgl_fleet::store::FleetStore;
use sgl_fleet::{FleetStateError, KeyPart};
use sglang_router_rs::types::shown_path;

/// How often a rollout that is waited for is looked at.
const LOOK: Duration = Duration::from_millis(100);

/// Pushes; gives what is to be served now.
///
/// # Errors
///
/// [`CommandError`].
///
/// # Cancel safety
///
/// It may have been pushed.
pub(crate) async fn push(
    store: &FleetStore,
    args: &FleetPushArgs,
    authorities: &[std::path::PathBuf],
    by: &str,
) -> Result<(KeyPart, RevisedPlugin), CommandError> {
    let plan = plan(args);
    plan.check()?;
    let settings = settings(args)?;
    let (name, module, digest) = module(store, args, authorities).await?;
    let plugin = KeyPart::parse("plugin", &name)?;
    let (by, place, policy_before) = (by.to_owned(), args.place, None);
    let live = if place { store.live().await? } else { Vec::new() };
    let target = PluginTarget { generation: 0, module, digest, settings, place, policy_before, by };
    let change = |before: Option<&DesiredPlugin>| {
        let mut target = target.clone();
        if place {
            let policies =
                live.iter().map(|router| router.policy.as_str()).filter(|policy| !policy.is_empty());
            target.policy_before = DesiredPlugin::policy_before(before, &name, policies);
        }
        DesiredPlugin::pushed(before, target, plan.clone()).map(Some)
    };
    let pushed = store.change_or_mend(&plugin, change).await?;
    let pushed = pushed.ok_or_else(|| FleetStateError::Refused("nothing was changed".to_owned()))?;
    Ok((plugin, pushed))
}

/// Waits until a generation's rollout is over; gives how it ended.
///
/// # Errors
///
/// [`CommandError::RolledBack`], also if another push took its place.
///
/// # Cancel safety
///
/// Nothing is changed.
pub(crate) async fn wait(
    store: &FleetStore,
    plugin: &KeyPart,
    generation: u64,
) -> Result<RevisedPlugin, CommandError> {
    loop {
        let now = match store.desired().await {
            Ok(desired) => desired.plugins.get(plugin.as_str()).cloned(),
            // The server may be away for a while; the rollout is not.
            Err(error) if error.is_passing() => None,
            Err(error) => return Err(error.into()),
        };
        if let Some(now) = now {
            let found = &now.plugin;
            if found.target.generation != generation {
                let newer = found.target.generation;
                let text = format!("{plugin}: generation {newer} took the place of {generation}");
                return Err(CommandError::RolledBack(text));
            }
            match found.state {
                RolloutState::Done => return Ok(now),
                RolloutState::RolledBack => {
                    let text = format!("{plugin}: generation {generation} was rolled back: {}", found.reason);
                    return Err(CommandError::RolledBack(text));
                }
                RolloutState::Removed => {
                    let text = format!("{plugin}: generation {generation} was removed: {}", found.reason);
                    return Err(CommandError::RolledBack(text));
                }
                RolloutState::Rolling | RolloutState::Paused => {}
            }
        }
        tokio::time::sleep(LOOK).await;
    }
}

fn plan(args: &FleetPushArgs) -> StepPlan {
    StepPlan {
        steps: args.steps.clone(),
        // Negative and endless times are the nearest that can be.
        soak_ms: u64::try_from(Duration::try_from_secs_f64(args.soak_secs).unwrap_or_default().as_millis())
            .unwrap_or(u64::MAX),
        min_decisions: args.min_decisions,
        max_failure_rate_increase: args.max_failure_rate_increase,
        max_p99_ratio: args.max_p99_ratio,
        ..StepPlan::default()
    }
}

/// The settings as keys of a `[[plugins]]` table, checked as far as can be without a router.
fn settings(args: &FleetPushArgs) -> Result<Map<String, Value>, CommandError> {
    let mut keys = Map::new();
    keys.extend(args.time_ms.map(|ms| ("max_execution_time_ms".to_owned(), json!(ms))));
    keys.extend(args.memory.map(|bytes| ("max_memory_bytes".to_owned(), json!(bytes))));
    if !args.allow_syscall.is_empty() {
        keys.insert("allowed_syscalls".to_owned(), json!(args.allow_syscall));
    }
    if !args.config.is_empty() {
        keys.insert("config".to_owned(), Value::Object(own_config(&args.config)?));
    }
    if let Some(text) = &args.options {
        let options: Map<String, Value> = serde_json::from_str(text)
            .map_err(|error| CommandError::Usage(format!("--options: not a JSON object: {error}")))?;
        keys.insert("options".to_owned(), Value::Object(options));
    }
    let usage = |error: crate::manage::ManageError| CommandError::Usage(error.to_string());
    let settings = Settings::new(keys.clone()).map_err(usage)?;
    if settings.rollout_mode().is_some() {
        let text = "--options: `rollout` is what the fleet does by itself; --steps says how";
        return Err(CommandError::Usage(text.to_owned()));
    }
    settings.check().map_err(usage)?;
    Ok(keys)
}

/// The plugin's name, where its module is, and its digest. A file is in the fleet's store then.
async fn module(
    store: &FleetStore,
    args: &FleetPushArgs,
    authorities: &[std::path::PathBuf],
) -> Result<(String, ModulePlace, String), CommandError> {
    if let Some(reference) = reference_in(&args.file)? {
        let pulled = args.registry.client(authorities).pull(&reference).await?;
        let name = args.name.clone().unwrap_or_else(|| reference.stem().to_owned());
        let digest = digest_of(&module_bytes(&pulled).wasm);
        return Ok((name, ModulePlace::Oci(pulled.reference.to_string()), digest));
    }
    if let Some(embedded) = embedded_name(&args.file.to_string_lossy()) {
        return embedded_module(store, args, embedded).await;
    }
    let unreadable = |error| CommandError::Usage(format!("{}: {error}", shown_path(&args.file)));
    let wasm = tokio::fs::read(&args.file).await.map_err(unreadable)?;
    let stem = args.file.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
    let name = args.name.clone().unwrap_or(stem);
    KeyPart::parse("plugin", &name)?;
    let signature = detached(&args.file, args.signature.as_deref())?;
    let digest = keep_module(store.connection(), &FleetModule { wasm, signature }).await?;
    Ok((name, ModulePlace::Store, digest))
}

/// As [`module`], of one that this program brings along. Routers that bring the same use their own.
async fn embedded_module(
    store: &FleetStore,
    args: &FleetPushArgs,
    embedded: &str,
) -> Result<(String, ModulePlace, String), CommandError> {
    if args.signature.is_some() {
        let needless = "--signature: an embedded module has none, and needs none";
        return Err(CommandError::Usage(needless.to_owned()));
    }
    let module = sgl_shipped::module(embedded).ok_or_else(|| {
        let known = sgl_shipped::names().join(", ");
        let text = format!("embedded:{embedded}: this program brings no such module along; it has: {known}");
        CommandError::Usage(text)
    })?;
    let name = args.name.clone().unwrap_or_else(|| embedded.to_owned());
    KeyPart::parse("plugin", &name)?;
    let kept = FleetModule { wasm: module.wasm.to_vec(), signature: None };
    let digest = keep_module(store.connection(), &kept).await?;
    Ok((name, ModulePlace::Store, digest))
}
