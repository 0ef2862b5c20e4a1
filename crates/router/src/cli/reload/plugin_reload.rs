//! The plugins of the configuration, and how they follow it.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::{Value, json};

use crate::cli::module_trial::ModuleTrial;
use crate::cli::reload::report::{change, changed, refusal};
use crate::config::checked::{CheckedConfig, FaultyPlugin};
use crate::config::config_view::plugin_settings;
use crate::config::plugin_entry::PluginEntry;
use crate::manage::digest::sha256;
use crate::manage::{ManageError, PluginManager};
use sgl_api::{ReloadChange, ReloadReport, Reloadable, ReloadedAs};
use sglang_router_rs::config::Faults;
use sglang_router_rs::policies::{ModuleBytes, OperationError, TrustPolicy};
use sglang_router_rs::types::{in_full, shown};

const PUSHED_GOES_ON: &str = "not configured any more; what was pushed goes on";

/// The plugins of the configuration.
#[derive(Debug)]
pub(crate) struct ConfiguredPlugins {
    manager: Arc<PluginManager>,
}

impl ConfiguredPlugins {
    /// Those that this manager loads.
    pub(crate) fn new(manager: Arc<PluginManager>) -> Self {
        Self { manager }
    }

    /// Rules about signatures for all loads from now on.
    pub(crate) fn set_trust(&self, trust: TrustPolicy) {
        self.manager.factory().set_trust(trust);
    }

    /// What [`reload`](Self::reload) would come to: what has changed is loaded aside.
    ///
    /// # Cancel safety
    ///
    /// Nothing is left.
    pub(crate) async fn plan(&self, config: &CheckedConfig, trust: TrustPolicy, report: &mut ReloadReport) {
        let trial = ModuleTrial::new(config, trust);
        for entry in &config.plugins {
            let (entry, module) = match self.read(entry).await {
                Ok(read) => read,
                Err(reason) => {
                    report.refused.push(refusal(Reloadable::Plugin, &entry.name, reason));
                    continue;
                }
            };
            if !self.manager.would_push(&entry, &module) {
                continue;
            }
            let (name, change) = (entry.name.clone(), self.change_of(&entry, &module));
            match trial.load(entry).await {
                Ok(()) => report.applied.push(change),
                Err(error) => {
                    report.refused.push(refusal(Reloadable::Plugin, &name, in_full(&error)));
                }
            }
        }
        add_faulty(&config.faulty_plugins, report);
        for (name, _) in self.gone(config) {
            match self.manager.would_unload_own(&name) {
                Ok(true) => report.applied.push(change(Reloadable::Plugin, &name, ReloadedAs::Removed)),
                Ok(false) => report.refused.push(refusal(Reloadable::Plugin, &name, PUSHED_GOES_ON)),
                Err(ManageError::Operation(OperationError::NotFound { .. })) => {}
                Err(error) => report.refused.push(refusal(Reloadable::Plugin, &name, error)),
            }
        }
    }

    /// Loads what has changed since it was loaded from its file, and unloads what the configuration does
    /// not name any more. What could not be loaded is tried again by the next reload.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future leaves what was loaded so far.
    pub(crate) async fn reload(&self, config: &CheckedConfig, report: &mut ReloadReport) {
        self.manager.set_configured(config.plugins.iter().map(|plugin| plugin.name.clone()).collect());
        for entry in &config.plugins {
            self.load(entry, report).await;
        }
        add_faulty(&config.faulty_plugins, report);
        for FaultyPlugin { name, file, faults, .. } in &config.faulty_plugins {
            let error = Faults(faults.clone()).in_one_line();
            tracing::error!(plugin = shown(name), file, error, "not loaded; what served goes on");
        }
        for (name, file) in self.gone(config) {
            match self.manager.unload_own(&name).await {
                Ok(true) => {
                    tracing::info!(plugin = name, "unloaded: not configured any more");
                    report.applied.push(change(Reloadable::Plugin, &name, ReloadedAs::Removed));
                }
                // Its file may come back as it was.
                Ok(false) => {
                    tracing::info!(plugin = name, PUSHED_GOES_ON);
                    report.refused.push(refusal(Reloadable::Plugin, &name, PUSHED_GOES_ON));
                    self.manager.files().gone(&name, &file);
                    continue;
                }
                // An operator was faster.
                Err(ManageError::Operation(OperationError::NotFound { .. })) => {}
                Err(error) => {
                    tracing::error!(plugin = name, %error, "not unloaded");
                    report.refused.push(refusal(Reloadable::Plugin, &name, error));
                    continue;
                }
            }
            self.manager.files().remove(&name);
        }
    }

    async fn load(&self, entry: &PluginEntry, report: &mut ReloadReport) {
        let name = &entry.name;
        let (entry, module) = match self.read(entry).await {
            Ok(read) => read,
            Err(error) => {
                tracing::error!(plugin = name, error, "not loaded; what served goes on");
                report.refused.push(refusal(Reloadable::Plugin, name, error));
                return;
            }
        };
        let change = self.change_of(&entry, &module);
        match self.manager.push_entry(entry, module).await {
            Ok(Some(pushed)) => {
                tracing::info!(plugin = name, generation = pushed.generation, "reloaded");
                let note = Some(format!("generation {}", pushed.generation));
                report.applied.push(ReloadChange { note, ..change });
            }
            Ok(None) => {}
            Err(error) => {
                tracing::error!(plugin = name, %error, "not loaded; what served goes on");
                report.refused.push(refusal(Reloadable::Plugin, name, error));
            }
        }
    }

    /// The module of a plugin, and its entry with what to call the module's source; or why it cannot be read.
    async fn read(&self, entry: &PluginEntry) -> Result<(PluginEntry, ModuleBytes), String> {
        let sources = self.manager.sources();
        let read = sources.of_configuration(entry.module_path.clone(), self.manager.factory()).await;
        let (module, module_path) = read.map_err(|error| in_full(&error))?;
        Ok((PluginEntry { module_path, ..entry.clone() }, module))
    }

    /// What is other than what serves under its name.
    fn change_of(&self, entry: &PluginEntry, module: &ModuleBytes) -> ReloadChange {
        let Some(serving) = self.manager.serving(&entry.name) else {
            return change(Reloadable::Plugin, &entry.name, ReloadedAs::Added);
        };
        let with_digest = |mut settings: Value, digest: &str| {
            if let Some(all) = settings.as_object_mut() {
                all.insert("module".into(), json!(digest));
            }
            settings
        };
        let before = PluginEntry::of(serving.config, serving.options);
        let before = with_digest(plugin_settings(&before), &serving.digest);
        let now = with_digest(plugin_settings(entry), &sha256(&module.wasm));
        changed(Reloadable::Plugin, &entry.name, &before, &now, &[])
    }

    /// Names that files gave and that the configuration does not give any more, with their files.
    fn gone(&self, config: &CheckedConfig) -> Vec<(String, String)> {
        // Settings that cannot be read remove nothing.
        let is_faulty = |file: &str| config.faulty_plugins.iter().any(|faulty| faulty.file == shown(file));
        let names: BTreeSet<&str> = config.plugins.iter().map(|plugin| plugin.name.as_str()).collect();
        let mut gone = self.manager.files().names();
        gone.retain(|(name, file)| !names.contains(name.as_str()) && !is_faulty(file));
        gone
    }
}

/// Adds what is in the plugin directory and cannot be used.
fn add_faulty(faulty: &[FaultyPlugin], report: &mut ReloadReport) {
    for FaultyPlugin { name, faults, .. } in faulty {
        let reason = Faults(faults.clone()).in_one_line();
        report.refused.push(refusal(Reloadable::Plugin, &shown(name), reason));
    }
}
