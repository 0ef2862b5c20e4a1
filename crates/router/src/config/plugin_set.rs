//! The plugins of a configuration and its plugin directory.

use std::collections::BTreeSet;
use std::path::Path;

use crate::config::checked::FaultyPlugin;
use crate::config::files::{PluginInDir, read_plugin_dir};
use crate::config::plugin_entry::PluginEntry;
use crate::config::router::RouterConfig;
use sglang_router_rs::config::Fault;
use sglang_router_rs::types::shown_path;

/// The plugins of a configuration and its plugin directory.
#[derive(Debug, Default)]
pub(crate) struct PluginSet {
    pub(crate) good: Vec<PluginEntry>,
    /// Those of the directory that cannot be used.
    pub(crate) faulty: Vec<FaultyPlugin>,
}

impl PluginSet {
    /// The plugins of the file and of the plugin directory, and whether the policy is one of them.
    /// What is wrong in the directory is a fault of the configuration only if the policy may be meant.
    pub(crate) fn checked(config: &RouterConfig, built_in: &[&str], faults: &mut Vec<Fault>) -> Self {
        let mut plugins = Self { good: config.plugins.clone(), faulty: Vec::new() };
        check_entries(&plugins.good, built_in, faults);
        if let Some(dir) = &config.plugin_dir {
            match read_plugin_dir(dir, built_in) {
                Ok(found) => plugins.add(found),
                Err(fault) => faults.push(fault),
            }
        }
        if config.watch_plugin_dir && config.plugin_dir.is_none() {
            faults.push(Fault::value("watch_plugin_dir", true, "true only with plugin_dir (--plugin-dir)"));
        }
        plugins.check_policy(config, built_in, faults);
        plugins
    }

    /// Adds the plugins of the directory. Names of the file are taken.
    fn add(&mut self, found: Vec<PluginInDir>) {
        let mut taken: BTreeSet<String> = self.good.iter().map(|plugin| plugin.name.clone()).collect();
        for PluginInDir { entry, mut faults } in found {
            let file = shown_path(Path::new(&entry.module_path));
            if taken.contains(&entry.name) {
                faults.push(taken_name(&entry).in_file(&file));
            }
            if faults.is_empty() {
                taken.insert(entry.name.clone());
                self.good.push(entry);
            } else {
                self.faulty.push(FaultyPlugin { name: entry.name, file, faults });
            }
        }
    }

    fn check_policy(&self, config: &RouterConfig, built_in: &[&str], faults: &mut Vec<Fault>) {
        let known = self.good.iter().map(|plugin| plugin.name.as_str());
        let names: Vec<&str> = built_in.iter().copied().chain(known).collect();
        if names.contains(&config.policy.as_str()) {
            return;
        }
        // Whether the state directory holds it is seen when that is opened.
        let may_be_meant =
            |plugin: &&FaultyPlugin| config.state_dir.is_none() || plugin.name == config.policy;
        let meant = self.faulty.iter().filter(may_be_meant);
        faults.extend(meant.flat_map(|plugin| plugin.faults.iter().cloned()));
        if config.state_dir.is_none() {
            let allowed = format!("one of {}", names.join(", "));
            faults.push(Fault::value("policy", format!("{:?}", config.policy), allowed));
        }
    }
}

/// Adds the faults of the file's plugins.
fn check_entries(plugins: &[PluginEntry], built_in: &[&str], faults: &mut Vec<Fault>) {
    for (position, plugin) in plugins.iter().enumerate() {
        let mut found = plugin.faults(built_in);
        let earlier = plugins.get(..position).unwrap_or_default();
        let has_name_fault = found.iter().any(|fault| fault.path == "name");
        if !has_name_fault && earlier.iter().any(|other| other.name == plugin.name) {
            found.push(taken_name(plugin));
        }
        let path = format!("plugins[{position}]");
        faults.extend(found.into_iter().map(|fault| fault.below(&path)));
    }
}

fn taken_name(plugin: &PluginEntry) -> Fault {
    Fault::value("name", format!("{:?}", plugin.name), "a name that no other plugin has")
}
