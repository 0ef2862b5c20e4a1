//! Loads the plugins that a start would load, aside.

use std::collections::BTreeSet;
use std::path::Path;

use crate::cli::module_trial::ModuleTrial;
use crate::cli::start_check::finding::{CheckFinding, CheckFindings};
use crate::config::checked::{CheckedConfig, FaultyPlugin};
use crate::config::plugin_entry::PluginEntry;
use crate::manage::ManageError;
use crate::manage::embedded::settings_page;
use crate::manage::state_dir::{read_kept_module, read_list};
use sglang_router_rs::config::Faults;
use sglang_router_rs::policies::{NativePolicy, PluginError, TrustPolicy};
use sglang_router_rs::types::{in_full, shown, shown_path};

/// All of them, one after the other.
///
/// # Cancel safety
///
/// Nothing is left.
pub(crate) async fn look(config: &CheckedConfig, found: &mut CheckFindings) {
    let trial = ModuleTrial::new(config, TrustPolicy::new(config.trust.clone()));
    for FaultyPlugin { name, file, faults, .. } in &config.faulty_plugins {
        let problem = Faults(faults.clone()).in_one_line();
        let remedy = "mend its settings; the router starts without it";
        found.warnings.push(CheckFinding::new(format!("plugin {} ({file})", shown(name)), problem, remedy));
    }
    for (position, entry) in config.plugins.iter().enumerate() {
        let key = format!("plugins[{position}]");
        let is_told = found.has_below(&key) || !entry.faults(&NativePolicy::NAMES).is_empty();
        if let (false, Err(error)) = (is_told, trial.load(entry.clone()).await) {
            let is_needed = entry.name == config.policy || !config.is_in_plugin_dir(entry);
            found.add(is_needed, refused(entry, &error));
        }
    }
    if let Some(entry) = &config.embedded_policy
        && let Err(error) = trial.load(entry.clone()).await
    {
        found.fault(refused(entry, &error));
    }
    kept(config, found);
}

fn refused(entry: &PluginEntry, error: &ManageError) -> CheckFinding {
    let file = shown(&entry.module_path);
    let remedy = match error {
        ManageError::Plugin(PluginError::Read { .. }) => {
            "name a module that is there and that the router's user can read".to_owned()
        }
        _ => format!(
            "`sgl-router plugin check {file}` looks at it alone; docs/wasm_plugins.md says what a module must have"
        ),
    };
    let problem = format!("{}{}", in_full(error), settings_page(&entry.module_path));
    CheckFinding::new(format!("plugin {} ({file})", shown(&entry.name)), problem, remedy)
}

/// What operators have loaded and a start comes back with. Whether its modules can be loaded was seen when
/// they were pushed; here they must be there as they were.
fn kept(config: &CheckedConfig, found: &mut CheckFindings) {
    let Some(dir) = config.state_dir.as_deref().filter(|dir| dir.exists()) else { return };
    let given: BTreeSet<&str> = config.plugins.iter().map(|plugin| plugin.name.as_str()).collect();
    let is_given = given.contains(config.policy.as_str())
        || config.embedded_policy.is_some()
        || NativePolicy::NAMES.contains(&config.policy.as_str());
    let list = match read_list(dir) {
        Ok(list) => list,
        Err(error) => {
            let remedy = "repair it, or remove it and push its plugins again";
            return found.add(!is_given, CheckFinding::new("state_dir", error, remedy));
        }
    };
    let mut has_policy = is_given;
    for plugin in list.iter().filter(|plugin| !given.contains(plugin.config.name.as_str())) {
        let is_needed = !is_given && plugin.config.name == config.policy;
        has_policy |= is_needed;
        if let Err(error) = read_kept_module(dir, &plugin.digest) {
            let key = format!("state_dir: plugin {}", shown(&plugin.config.name));
            found.add(is_needed, CheckFinding::new(key, error, "push it again, or remove it"));
        }
    }
    if !has_policy {
        let problem = format!(
            "there is no policy {}, neither in {}",
            shown(&config.policy),
            shown_path(Path::new(dir))
        );
        found.fault(CheckFinding::new(
            "policy",
            problem,
            "push a plugin of that name, or name another policy",
        ));
    }
}
