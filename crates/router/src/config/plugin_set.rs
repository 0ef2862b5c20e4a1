//! The plugins of a configuration and its plugin directory.

use std::collections::{BTreeSet, HashMap};
use std::path::Path;

use serde_json::Value;

use crate::config::checked::FaultyPlugin;
use crate::config::embedded_path::{embedded_name, embedded_path};
use crate::config::files::{PluginInDir, read_plugin_dir};
use crate::config::other_names;
use crate::config::other_names::{OtherKind, OtherPolicy};
use crate::config::plugin_entry::PluginEntry;
use crate::config::router::RouterConfig;
use sgl_oci::{ModuleReference, ReferenceError};
use sglang_router_rs::config::Fault;
use sglang_router_rs::types::shown_path;

/// Names of policies for which no file is needed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PolicyNames<'a> {
    pub(crate) built_in: &'a [&'a str],
    /// Those whose modules the router brings along. Others may have their names.
    pub(crate) embedded: &'a [&'a str],
}

impl PolicyNames<'_> {
    fn has(&self, other: &OtherPolicy) -> bool {
        match other.kind {
            OtherKind::BuiltIn(name) => self.built_in.contains(&name),
            OtherKind::Embedded { module, .. } => self.embedded.contains(&module),
        }
    }
}

/// The plugins of a configuration and its plugin directory.
#[derive(Debug, Default)]
pub(crate) struct PluginSet {
    pub(crate) good: Vec<PluginEntry>,
    /// Those of the directory that cannot be used.
    pub(crate) faulty: Vec<FaultyPlugin>,
    /// The policy, if nothing but its name is given.
    pub(crate) embedded_policy: Option<PluginEntry>,
    /// The built-in policy that another router's name for it means, if that is what is configured.
    pub(crate) built_in_policy: Option<&'static str>,
}

impl PluginSet {
    /// The plugins of the file and of the plugin directory, and whether the policy is one of them.
    /// What is wrong in the directory is a fault of the configuration only if the policy may be meant.
    pub(crate) fn checked(config: &RouterConfig, names: PolicyNames<'_>, faults: &mut Vec<Fault>) -> Self {
        let good = config.plugins.iter().map(|plugin| with_module(plugin, names.embedded)).collect();
        let mut plugins = Self { good, ..Self::default() };
        check_entries(&plugins.good, names, faults);
        if let Some(dir) = &config.plugin_dir {
            match read_plugin_dir(dir, names.built_in) {
                Ok(found) => plugins.add(found),
                Err(fault) => faults.push(fault),
            }
        }
        if config.watch_plugin_dir && config.plugin_dir.is_none() {
            faults.push(Fault::value("watch_plugin_dir", true, "true only with plugin_dir (--plugin-dir)"));
        }
        plugins.check_policy(config, names, faults);
        plugins
    }

    /// Gives the policy's plugin these settings; its others stay.
    pub(crate) fn set(
        &mut self,
        policy: &str,
        settings: &HashMap<String, Value>,
        names: PolicyNames<'_>,
        faults: &mut Vec<Fault>,
    ) {
        if let (Some(key), true) = (settings.keys().min(), names.built_in.contains(&policy)) {
            let allowed = format!("nothing: {policy} is built in and has no settings");
            faults.push(Fault::value("--policy-config", format!("{key:?}"), allowed));
        }
        let mut plugins = self.good.iter_mut().chain(&mut self.embedded_policy);
        if let Some(plugin) = plugins.find(|plugin| plugin.name == policy) {
            plugin.config.extend(settings.iter().map(|(key, value)| (key.clone(), value.clone())));
        }
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

    fn check_policy(&mut self, config: &RouterConfig, names: PolicyNames<'_>, faults: &mut Vec<Fault>) {
        let (policy, known) = (config.policy.as_str(), self.good.iter().map(|plugin| plugin.name.as_str()));
        if names.built_in.contains(&policy) || known.clone().any(|name| name == policy) {
            return;
        }
        let is_embedded = names.embedded.contains(&policy);
        // Whether the state directory holds it is seen when that is opened.
        let may_be_another = is_embedded || config.state_dir.is_some();
        let meant = self.faulty.iter().filter(|plugin| !may_be_another || plugin.name == policy);
        let found: Vec<Fault> = meant.flat_map(|plugin| plugin.faults.iter().cloned()).collect();
        if is_embedded && found.is_empty() {
            let (name, module_path) = (policy.to_owned(), embedded_path(policy));
            self.embedded_policy = Some(PluginEntry { name, module_path, ..PluginEntry::default() });
        } else if let Some(other) = other_names::find(policy).filter(|other| names.has(other)) {
            match other.kind {
                OtherKind::BuiltIn(name) => self.built_in_policy = Some(name),
                OtherKind::Embedded { module, .. } => {
                    let (name, module_path) = (policy.to_owned(), embedded_path(module));
                    let config = other.settings().collect();
                    let entry = PluginEntry { name, module_path, config, ..PluginEntry::default() };
                    self.embedded_policy = Some(entry);
                }
            }
        } else if !may_be_another {
            let groups = [
                (names.built_in.to_vec(), "built in"),
                (names.embedded.to_vec(), "embedded"),
                (known.collect(), "plugins"),
                (
                    other_names::ALL
                        .iter()
                        .filter(|other| names.has(other))
                        .map(|other| other.name)
                        .collect(),
                    "names of other routers",
                ),
            ];
            let groups = groups.into_iter().filter(|(names, _)| !names.is_empty());
            let groups: Vec<String> =
                groups.map(|(names, kind)| format!("{} ({kind})", names.join(", "))).collect();
            let instead =
                other_names::instead_of(policy).map_or_else(String::new, |what| format!("{what}; or "));
            let allowed = format!("{instead}one of {}", groups.join("; "));
            faults.extend(found);
            faults.push(Fault::value("policy", format!("{policy:?}"), allowed));
            return;
        }
        faults.extend(found);
    }
}

/// The plugin; without a module of its own, with the embedded one of its name.
fn with_module(plugin: &PluginEntry, embedded: &[&str]) -> PluginEntry {
    let mut plugin = plugin.clone();
    if plugin.module_path.is_empty() && embedded.contains(&plugin.name.as_str()) {
        plugin.module_path = embedded_path(&plugin.name);
    }
    plugin
}

/// Adds the faults of the file's plugins.
fn check_entries(plugins: &[PluginEntry], names: PolicyNames<'_>, faults: &mut Vec<Fault>) {
    for (position, plugin) in plugins.iter().enumerate() {
        let mut found = plugin.faults(names.built_in);
        let earlier = plugins.get(..position).unwrap_or_default();
        let has_name_fault = found.iter().any(|fault| fault.path == "name");
        if !has_name_fault && earlier.iter().any(|other| other.name == plugin.name) {
            found.push(taken_name(plugin));
        }
        if embedded_name(&plugin.module_path).is_some_and(|module| !names.embedded.contains(&module)) {
            let allowed = match names.embedded.join(", ") {
                none if none.is_empty() => "a file: this router brings no modules along".to_owned(),
                names => format!("a file, or embedded:NAME with one of {names}"),
            };
            found.push(Fault::value("module_path", format!("{:?}", plugin.module_path), allowed));
        }
        if ModuleReference::is_one(&plugin.module_path)
            && let Err(ReferenceError { found: text, reason }) = ModuleReference::parse(&plugin.module_path)
        {
            let allowed =
                "oci://HOST[:PORT]/REPOSITORY:TAG, with @sha256:DIGEST behind it or instead of the tag";
            found.push(Fault::value("module_path", format!("{text:?}, {reason}"), allowed));
        }
        let path = format!("plugins[{position}]");
        faults.extend(found.into_iter().map(|fault| fault.below(&path)));
    }
}

fn taken_name(plugin: &PluginEntry) -> Fault {
    Fault::value("name", format!("{:?}", plugin.name), "a name that no other plugin has")
}
