//! The only way to change plugins while the router runs.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use parking_lot::Mutex;
use tokio::sync::OwnedMutexGuard;

use crate::config::plugin_entry::PluginEntry;
use crate::manage::error::ManageError;
use crate::manage::kept_plugin::KeptPlugin;
use crate::manage::kept_set::{Change, PluginSnapshot};
use crate::manage::loaded_files::{FileContent, LoadedFiles};
use crate::manage::module_file::Module;
use crate::manage::module_sources::{ModuleSources, UPLOADED};
use crate::manage::registry_modules::RegistryModules;
use crate::manage::settings::Settings;
use crate::manage::state_dir::StateDir;
use sgl_api::{AfterRestart, Pushed};
use sglang_router_rs::config::{PluginOptions, Rollout, WasmPolicyConfig};
use sglang_router_rs::policies::{
    Load, ModuleBytes, OperationError, PluginDetail, PluginInfo, PolicyFactory, PolicyHandle, Progress,
    unwatched,
};

/// Changes the plugins of a router: all operations of operators come here.
///
/// # Concurrency
///
/// Loads of one name take turns (`turns`), since each starts from the settings that the previous one
/// left. Everything else may happen meanwhile: a rollback does not wait for a compilation.
#[derive(Debug)]
pub struct PluginManager {
    factory: PolicyFactory,
    sources: ModuleSources,
    /// Names of the policies that place the router's requests.
    in_use: Mutex<BTreeSet<String>>,
    /// Names that the configuration and the plugin directory give: at a restart they win.
    configured: Mutex<BTreeSet<String>>,
    files: LoadedFiles,
    turns: Mutex<BTreeMap<String, Arc<tokio::sync::Mutex<()>>>>,
    kept: Option<Arc<StateDir>>,
}

impl PluginManager {
    /// A manager of the factory's plugins. `policy` is the one that places the router's requests.
    pub fn new(factory: PolicyFactory, plugin_dir: Option<PathBuf>, policy: &str) -> Self {
        let in_use = Mutex::new(BTreeSet::from([policy.to_owned()]));
        let (configured, files, turns) = (Mutex::default(), LoadedFiles::default(), Mutex::default());
        let sources = ModuleSources { plugin_dir, ..ModuleSources::default() };
        Self { factory, sources, in_use, configured, files, turns, kept: None }
    }

    /// The same manager, with modules from these registries.
    #[must_use]
    pub(crate) fn fetching(mut self, registry: Arc<RegistryModules>) -> Self {
        self.sources.registry = registry;
        self
    }

    /// Where it finds modules.
    pub(crate) fn sources(&self) -> &ModuleSources {
        &self.sources
    }

    /// The same manager, which also keeps pushed plugins that serve in a state directory.
    #[must_use]
    pub fn keeping(mut self, state: StateDir) -> Self {
        self.kept = Some(Arc::new(state));
        self
    }

    /// True if it keeps what serves.
    pub fn keeps(&self) -> bool {
        self.kept.is_some()
    }

    /// Says which names the configuration and the plugin directory give.
    pub fn set_configured(&self, names: BTreeSet<String>) {
        *self.configured.lock() = names;
    }

    /// Takes what serves under the names that the configuration gives for loaded from its files. To be
    /// called before anything else can be loaded.
    pub(crate) fn take_for_loaded(&self) {
        let configured = self.configured.lock();
        let infos = self.factory.plugin_infos();
        infos.iter().filter(|info| configured.contains(&info.name)).for_each(|info| {
            self.files.add_serving(info);
            self.sources.registry.note(&info.config.module_path);
        });
    }

    /// What was loaded from files.
    pub(crate) fn files(&self) -> &LoadedFiles {
        &self.files
    }

    /// What is kept over a restart, if anything is.
    pub(crate) fn kept_plugins(&self) -> Vec<KeptPlugin> {
        self.kept.as_ref().map(|state| state.plugins()).unwrap_or_default()
    }

    /// The plugins themselves.
    pub fn factory(&self) -> &PolicyFactory {
        &self.factory
    }

    /// True if the router places requests with this policy.
    pub fn is_in_use(&self, name: &str) -> bool {
        self.in_use.lock().contains(name)
    }

    /// Says with which policies the router places requests.
    pub(crate) fn set_in_use(&self, names: BTreeSet<String>) {
        *self.in_use.lock() = names;
    }

    /// Everything known about a plugin.
    ///
    /// # Errors
    ///
    /// [`OperationError::NotFound`].
    pub fn detail(&self, name: &str) -> Result<PluginDetail, ManageError> {
        Ok(self.factory.plugin_detail(name).ok_or_else(|| not_found(name))?)
    }

    /// Loads a module under a name. The plugin that serves there keeps all settings that are not given,
    /// and serves until the new generation is ready.
    ///
    /// # Errors
    ///
    /// [`ManageError`]; what served goes on.
    ///
    /// # Cancel safety
    ///
    /// Do not drop it: guest memory that is being carried over may be lost.
    pub async fn push(
        &self,
        name: &str,
        module: Module,
        settings: &Settings,
        progress: Progress,
    ) -> Result<Pushed, ManageError> {
        let began = Instant::now();
        let (module, path) = self.sources.of_operator(module, &self.factory).await?;
        let _turn = self.turn(name).await;
        let known = self.factory.plugin_detail(name);
        let created = known.is_none();
        let (mut config, options) = match known {
            Some(known) => (known.config, known.options),
            None => (WasmPolicyConfig::new(name, UPLOADED), PluginOptions::default()),
        };
        config.module_path = path;
        let (config, options) = settings.over(config, options, true)?;
        if created && options.rollout != Rollout::Immediate {
            let names = self.factory.list_wasm_plugins();
            return Err(ManageError::nothing_beside(name, options.rollout, &names));
        }
        let arriving = self.keep_module(name, &module.wasm).await?;
        let inherited = if created { Vec::new() } else { settings.left_to(&config.config) };
        let loaded = self.factory.load(Load::module(config, module).with(options).watched_by(progress)).await;
        if let Some(digest) = arriving {
            let (name, loaded) = (name.to_owned(), loaded.is_ok());
            self.record(Change::Arrived { name, digest, loaded }).await;
        }
        let loaded = loaded.map_err(|error| ManageError::of_load(error, inherited))?;
        Ok(self.pushed(loaded, (created, began)))
    }

    /// Makes a new generation of the module that serves under a name, with other settings.
    ///
    /// # Errors
    ///
    /// [`ManageError`]; what served goes on.
    ///
    /// # Cancel safety
    ///
    /// As [`push`](Self::push).
    pub async fn reconfigure(
        &self,
        name: &str,
        settings: &Settings,
        progress: Progress,
    ) -> Result<Pushed, ManageError> {
        let began = Instant::now();
        let _turn = self.turn(name).await;
        let known = self.detail(name)?;
        let (config, options) = settings.over(known.config, known.options, false)?;
        let info = self.factory.reconfigure_wasm_plugin(config, options, progress).await?;
        self.record(Change::Touched { name: name.to_owned() }).await;
        Ok(self.pushed(info, (false, began)))
    }

    /// Loads a plugin of the configuration or of the plugin directory with exactly these settings. `None`
    /// if its files have not changed since they were loaded last, whatever was pushed meanwhile, or if
    /// that is what serves already. If only the settings differ, nothing is compiled.
    ///
    /// # Errors
    ///
    /// [`ManageError`]; what served goes on.
    ///
    /// # Cancel safety
    ///
    /// As [`push`](Self::push).
    pub async fn push_entry(
        &self,
        entry: PluginEntry,
        module: ModuleBytes,
    ) -> Result<Option<Pushed>, ManageError> {
        let began = Instant::now();
        let (config, options) = entry.into_parts();
        let name = config.name.clone();
        let content = FileContent::new(config, options, &module);
        let _turn = self.turn(&name).await;
        let known = self.serving(&name);
        if self.files.has(&content, known.is_some()) {
            return Ok(None);
        }
        if let Some(same) = known.as_ref().filter(|known| content.is(known)) {
            self.files.add(content, same.generation);
            return Ok(None);
        }
        let (config, options) = (content.config.clone(), content.options.clone());
        let info = match &known {
            Some(known) if content.has_module_of(known) => {
                self.factory.reconfigure_wasm_plugin(config, options, unwatched()).await?
            }
            _ => self.factory.load(Load::module(config, module).with(options)).await?,
        };
        self.files.tell_of_displaced(known.as_ref(), &info);
        self.files.add(content, info.generation);
        self.configured.lock().insert(name.clone());
        self.record(Change::Touched { name }).await;
        Ok(Some(self.pushed(info, (known.is_none(), began))))
    }

    /// Unloads a plugin; the one in use only if `force` is true.
    ///
    /// # Errors
    ///
    /// [`ManageError::InUse`], or [`OperationError::NotFound`].
    ///
    /// # Cancel safety
    ///
    /// Dropping the future may leave the plugin loaded.
    pub async fn unload(&self, name: &str, force: bool) -> Result<(), ManageError> {
        let _turn = self.turn(name).await;
        self.unload_in_turn(name, force).await
    }

    /// Unloads a plugin whose file is gone, or is the configuration's no more. False if it stays: somebody
    /// has pushed or changed it since it was loaded from there.
    ///
    /// # Errors
    ///
    /// As [`unload`](Self::unload).
    ///
    /// # Cancel safety
    ///
    /// As [`unload`](Self::unload).
    pub(crate) async fn unload_own(&self, name: &str) -> Result<bool, ManageError> {
        let _turn = self.turn(name).await;
        if self.serving(name).is_some_and(|info| !self.files.gave(name, info.generation)) {
            return Ok(false);
        }
        self.unload_in_turn(name, false).await.map(|()| true)
    }

    async fn unload_in_turn(&self, name: &str, force: bool) -> Result<(), ManageError> {
        self.detail(name)?;
        if self.is_in_use(name) && !force {
            return Err(ManageError::InUse { name: name.to_owned() });
        }
        if !self.factory.unload_wasm_plugin(name) {
            return Err(not_found(name).into());
        }
        self.record(Change::Unloaded { name: name.to_owned() }).await;
        Ok(())
    }

    /// Makes the canary or the shadow of a plugin its stable generation.
    ///
    /// # Errors
    ///
    /// [`ManageError`] says why not; nothing has changed.
    ///
    /// # Cancel safety
    ///
    /// As [`push`](Self::push).
    pub async fn promote(&self, name: &str) -> Result<(), ManageError> {
        self.factory.promote_wasm_plugin(name).await?;
        self.record(Change::ByItself).await;
        Ok(())
    }

    /// Drops the canary or the shadow of a plugin, or goes back to its previous generation.
    ///
    /// # Errors
    ///
    /// [`ManageError`] says why not; nothing has changed.
    ///
    /// # Cancel safety
    ///
    /// As [`push`](Self::push).
    pub async fn roll_back(&self, name: &str) -> Result<(), ManageError> {
        self.factory.roll_back_wasm_plugin(name).await?;
        self.record(Change::ByItself).await;
        Ok(())
    }

    /// Takes a plugin out of the path, or puts it back. Not kept over a restart.
    ///
    /// # Errors
    ///
    /// [`OperationError::NotFound`].
    pub fn set_paused(&self, name: &str, paused: bool) -> Result<(), ManageError> {
        Ok(self.factory.pause_wasm_plugin(name, paused)?)
    }

    /// Share of the decisions that go to a plugin's canary in percent, if it has one.
    pub fn canary_percent(&self, name: &str) -> Option<f64> {
        canary_percent(&self.factory, name)
    }

    /// Brings the state directory up to date after a change, if there is one. False if that failed,
    /// which is logged.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future does not stop it.
    pub async fn record(&self, change: Change) -> bool {
        let Some(kept) = &self.kept else { return true };
        let (state, factory) = (Arc::clone(kept), self.factory.clone());
        let record = move || state.record(change, || PluginSnapshot::of(&factory));
        match tokio::task::spawn_blocking(record).await {
            Ok(Ok(())) => true,
            Ok(Err(error)) => {
                tracing::error!(%error, "a restart would not come back with what serves now");
                false
            }
            Err(_) => false,
        }
    }

    pub(crate) fn serving(&self, name: &str) -> Option<PluginInfo> {
        self.factory.plugin_infos().into_iter().find(|info| info.name == name)
    }

    fn pushed(&self, info: PluginInfo, load: (bool, Instant)) -> Pushed {
        let in_use = self.is_in_use(&info.name);
        let is_configured = self.configured.lock().contains(&info.name) && !self.files.is_gone(&info.name);
        let after_restart = match &self.kept {
            _ if is_configured => AfterRestart::Configured,
            Some(_) => AfterRestart::Kept,
            None => AfterRestart::Gone,
        };
        Pushed::new(info, load, in_use, after_restart)
    }

    pub(in crate::manage) async fn keep_module(
        &self,
        name: &str,
        wasm: &[u8],
    ) -> Result<Option<String>, ManageError> {
        let Some(kept) = &self.kept else { return Ok(None) };
        let (state, name, wasm) = (Arc::clone(kept), name.to_owned(), wasm.to_vec());
        let keep = move || state.keep_module(&name, &wasm);
        let digest = tokio::task::spawn_blocking(keep).await.map_err(|_| ManageError::Stopping)??;
        Ok(Some(digest))
    }

    /// Waits until no other load of this name is under way.
    pub(in crate::manage) async fn turn(&self, name: &str) -> OwnedMutexGuard<()> {
        let turn = {
            let mut turns = self.turns.lock();
            // Drops turns that nobody holds or waits for.
            turns.retain(|_, turn| Arc::strong_count(turn) > 1);
            Arc::clone(turns.entry(name.to_owned()).or_default())
        };
        turn.lock_owned().await
    }
}

/// Share of the decisions that go to a plugin's canary in percent, if it has one.
pub(crate) fn canary_percent(factory: &PolicyFactory, name: &str) -> Option<f64> {
    let Some(PolicyHandle::Wasm(plugin)) = factory.create_by_name(name) else { return None };
    plugin.canary_percent()
}

fn not_found(name: &str) -> OperationError {
    OperationError::NotFound { name: name.to_owned() }
}
