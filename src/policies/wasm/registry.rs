//! All loaded plugins, by name.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};
use std::time::SystemTime;

use parking_lot::{Mutex, RwLock};
use tokio::sync::watch;

use crate::config::plugin::{IfLoaded, PluginOptions, WasmPolicyConfig};
use crate::config::rollout::Rollout;
use crate::engine::wasm_engine::{Engine, EngineOptions};
use crate::policies::wasm::detail;
use crate::policies::wasm::detail::PluginDetail;
use crate::policies::wasm::load::error::PluginError;
use crate::policies::wasm::load::generation::Generation;
use crate::policies::wasm::load::load_request::Load;
use crate::policies::wasm::load::loader;
use crate::policies::wasm::load::progress::{LoadStep, Progress};
use crate::policies::wasm::load::provenance::Provenance;
use crate::policies::wasm::load::trust::rules::TrustPolicy;
use crate::policies::wasm::rollout::operation_error::OperationError;
use crate::policies::wasm::rollout::wasm_policy::WasmPolicy;
use crate::policies::wasm::state::plugin_state::PluginState;
use crate::policies::wasm::state::stats::PluginStats;

/// A loaded plugin, as a listing shows it.
#[derive(Clone, Debug)]
pub struct PluginInfo {
    /// Its name.
    pub name: String,
    /// The generation that serves: a number that grows with every load, process-wide.
    pub generation: u64,
    /// SHA-256 of the module, 64 hex digits.
    pub digest: String,
    /// When the generation was loaded.
    pub loaded_at: SystemTime,
    /// What the module's manifest says about it.
    pub manifest: ManifestInfo,
    /// System calls that the module imports.
    pub syscalls: Vec<String>,
    /// What it was loaded with.
    pub config: WasmPolicyConfig,
    /// What it was loaded with.
    pub options: PluginOptions,
    /// Where its module comes from, and who vouches for it.
    pub provenance: Provenance,
    /// The detached signature that came with its module.
    pub detached_signature: Option<Vec<u8>>,
    /// The canary or shadow on trial that this load replaced; only in the answer to a load.
    pub displaced: Option<u64>,
}

/// What a module's manifest says about it, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ManifestInfo {
    /// The policy's name, as its author calls it.
    pub name: String,
    /// Its version.
    pub version: String,
    /// What it does.
    pub description: String,
}

/// The plugins of one process, on one engine.
///
/// # Concurrency
///
/// The map is locked for lookups and changes only, never while a plugin is prepared. Decisions
/// do not come here: a policy handle goes straight to its plugin.
#[derive(Debug)]
pub(crate) struct Registry {
    plugins: RwLock<BTreeMap<String, Arc<WasmPolicy>>>,
    /// States of plugins that are being loaded: concurrent loads of one name share one state.
    states: Mutex<BTreeMap<String, Weak<PluginState>>>,
    /// Unloaded plugins. A policy handle that still holds one serves it again once its name is loaded
    /// again.
    unloaded: Mutex<BTreeMap<String, Weak<WasmPolicy>>>,
    engine: Mutex<Option<Arc<Engine>>>,
    engine_options: EngineOptions,
    trust: RwLock<Arc<TrustPolicy>>,
    /// Counts changes of what serves; waiters watch it.
    changes: watch::Sender<u64>,
}

impl Registry {
    /// A registry without plugins; its engine starts with the first of them.
    pub(crate) fn new(engine_options: EngineOptions) -> Self {
        Self {
            plugins: RwLock::default(),
            states: Mutex::default(),
            unloaded: Mutex::default(),
            engine: Mutex::new(None),
            engine_options,
            trust: RwLock::default(),
            changes: watch::Sender::default(),
        }
    }

    /// From now on, requires modules to be signed by these rules. Loaded plugins stay.
    pub(crate) fn set_trust(&self, trust: TrustPolicy) {
        *self.trust.write() = Arc::new(trust);
    }

    /// The rules about signatures.
    pub(crate) fn trust(&self) -> Arc<TrustPolicy> {
        Arc::clone(&self.trust.read())
    }

    /// Loads a plugin, or prepares a new generation of it if the name is taken; the options say how that
    /// generation takes over. Everything that can fail happens before anything changes. The load's
    /// `progress` hears each step.
    ///
    /// # Errors
    ///
    /// [`PluginError`]; the registry is as it was before.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future leaves the registry as it was.
    pub(crate) async fn load(&self, load: Load) -> Result<PluginInfo, PluginError> {
        let (name, if_loaded) = (load.config.name.clone(), load.options.if_loaded);
        let at_once = load.options.rollout == Rollout::Immediate;
        let progress = Arc::clone(&load.progress);
        self.refuse_duplicate(&name, if_loaded)?;
        let engine = self.engine()?;
        let state = self.state(&name);
        let generation = loader::prepare(&engine, Arc::clone(&state), load, self.trust()).await?;
        let mut info = info(&name, &generation);
        let max_bytes = generation.pool.max_bytes();
        // A candidate swaps nothing yet, and before a first generation there is none.
        let replaces = at_once && self.get(&name).is_some();
        if replaces {
            progress(LoadStep::Swap);
        }
        info.displaced = self.install(&name, if_loaded, state, generation).await?;
        if replaces {
            progress(LoadStep::Drain);
        }
        let all_max_bytes = engine.capacity.reserved().bytes;
        let (generation, digest) = (info.generation, info.digest.as_str());
        tracing::info!(plugin = name, generation, digest, max_bytes, all_max_bytes, "plugin loaded");
        Ok(info)
    }

    async fn install(
        &self,
        name: &str,
        if_loaded: IfLoaded,
        state: Arc<PluginState>,
        generation: Generation,
    ) -> Result<Option<u64>, PluginError> {
        let plugin = {
            let mut plugins = self.plugins.write();
            match plugins.get(name) {
                Some(plugin) if if_loaded == IfLoaded::Refuse => return Err(duplicate(name, plugin)),
                Some(plugin) => Arc::clone(plugin),
                None => {
                    let held = self.unloaded.lock().remove(name).and_then(|plugin| plugin.upgrade());
                    let plugin = match held.filter(|plugin| Arc::ptr_eq(plugin.state(), &state)) {
                        Some(plugin) => {
                            plugin.revive(generation);
                            plugin
                        }
                        None => {
                            let engine = Arc::clone(&generation.pool.compiled().engine);
                            WasmPolicy::new(name, &engine, state, generation, self.changes.clone())
                        }
                    };
                    plugins.insert(name.to_owned(), plugin);
                    self.changes.send_modify(|changes| *changes += 1);
                    return Ok(None);
                }
            }
        };
        plugin.install(generation).await
    }

    /// Makes a new generation of a loaded plugin from the module that serves, with other limits, options
    /// or configuration. Compiles nothing.
    ///
    /// # Errors
    ///
    /// [`OperationError::NotFound`], or why the generation could not be made.
    ///
    /// # Cancel safety
    ///
    /// As [`load`](Self::load).
    pub(crate) async fn reconfigure(
        &self,
        config: WasmPolicyConfig,
        options: PluginOptions,
        progress: Progress,
    ) -> Result<PluginInfo, OperationError> {
        let generation = self.plugin(&config.name)?.generation();
        let generation = generation.ok_or_else(|| OperationError::NotFound { name: config.name.clone() })?;
        let options = PluginOptions { if_loaded: IfLoaded::Replace, ..options };
        let load = Load::again(config, generation).with(options).watched_by(progress);
        Ok(self.load(load).await?)
    }

    /// Changes when the serving generation or the one on trial changes.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// The plugin of that name, or an error if there is none.
    pub(crate) fn plugin(&self, name: &str) -> Result<Arc<WasmPolicy>, OperationError> {
        self.get(name).ok_or_else(|| OperationError::NotFound { name: name.to_owned() })
    }

    /// Everything known about a plugin.
    pub(crate) fn detail(&self, name: &str) -> Option<PluginDetail> {
        detail::of(name, &*self.get(name)?)
    }

    /// The state of the plugin of that name, whether it is loaded or being loaded.
    fn state(&self, name: &str) -> Arc<PluginState> {
        if let Some(plugin) = self.get(name) {
            return Arc::clone(plugin.state());
        }
        if let Some(plugin) = self.unloaded.lock().get(name).and_then(Weak::upgrade) {
            return Arc::clone(plugin.state());
        }
        let mut states = self.states.lock();
        if let Some(known) = states.get(name).and_then(Weak::upgrade) {
            return known;
        }
        states.retain(|_, state| state.strong_count() > 0);
        let made = PluginState::new(name);
        states.insert(name.to_owned(), Arc::downgrade(&made));
        made
    }

    fn refuse_duplicate(&self, name: &str, if_loaded: IfLoaded) -> Result<(), PluginError> {
        match self.get(name) {
            Some(plugin) if if_loaded == IfLoaded::Refuse => Err(duplicate(name, &plugin)),
            _ => Ok(()),
        }
    }

    /// The plugin of that name.
    pub(crate) fn get(&self, name: &str) -> Option<Arc<WasmPolicy>> {
        self.plugins.read().get(name).cloned()
    }

    /// The names of all plugins, sorted.
    pub(crate) fn names(&self) -> Vec<String> {
        self.plugins.read().keys().cloned().collect()
    }

    /// What is known of each plugin, sorted by name.
    pub(crate) fn infos(&self) -> Vec<PluginInfo> {
        let plugins = self.plugins.read();
        let one = |(name, plugin): (&String, &Arc<WasmPolicy>)| Some(info(name, &*plugin.generation()?));
        plugins.iter().filter_map(one).collect()
    }

    /// What was counted of each plugin, sorted by name.
    pub(crate) fn stats(&self) -> Vec<PluginStats> {
        let plugins: Vec<Arc<WasmPolicy>> = self.plugins.read().values().cloned().collect();
        plugins.iter().map(|plugin| plugin.stats()).collect()
    }

    /// Takes a plugin out of service. Calls in flight finish; policy handles still held follow the
    /// plugin's failure policy until its name is loaded again. False if there is no such plugin.
    pub(crate) fn unload(&self, name: &str) -> bool {
        let removed = self.plugins.write().remove(name);
        let Some(plugin) = removed else { return false };
        // The next load of this name starts from nothing.
        self.states.lock().remove(name);
        plugin.retire();
        plugin.state().forget();
        let mut unloaded = self.unloaded.lock();
        unloaded.retain(|_, plugin| plugin.strong_count() > 0);
        unloaded.insert(name.to_owned(), Arc::downgrade(&plugin));
        drop(unloaded);
        tracing::info!(plugin = name, "plugin unloaded");
        true
    }

    /// The engine, started if need be.
    fn engine(&self) -> Result<Arc<Engine>, PluginError> {
        let mut engine = self.engine.lock();
        if let Some(engine) = &*engine {
            return Ok(Arc::clone(engine));
        }
        let started = Engine::new(&self.engine_options)?;
        *engine = Some(Arc::clone(&started));
        Ok(started)
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        // Policy handles may outlive us; idle instances and their pool hold each other.
        for plugin in self.plugins.get_mut().values() {
            plugin.retire();
        }
    }
}

fn duplicate(name: &str, plugin: &WasmPolicy) -> PluginError {
    let generation = plugin.generation().map_or(0, |generation| generation.id);
    PluginError::Duplicate { name: name.to_owned(), generation }
}

fn info(name: &str, generation: &Generation) -> PluginInfo {
    let manifest = &generation.facts.manifest;
    PluginInfo {
        name: name.to_owned(),
        generation: generation.id,
        digest: generation.digest.clone(),
        loaded_at: generation.loaded_at,
        manifest: ManifestInfo {
            name: manifest.name.clone(),
            version: manifest.version.clone(),
            description: manifest.description.clone(),
        },
        syscalls: generation.facts.syscalls.clone(),
        config: generation.config.clone(),
        options: generation.options.clone(),
        provenance: generation.provenance(),
        detached_signature: generation.supply.signature.clone(),
        displaced: None,
    }
}
