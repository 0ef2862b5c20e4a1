//! Policies by name.

use std::sync::Arc;

use crate::config::plugin::{PluginOptions, WasmPolicyConfig};
use crate::engine::wasm_engine::EngineOptions;
use crate::policies::native::native_policy::NativePolicy;
use crate::policies::policy_handle::PolicyHandle;
use crate::policies::wasm::detail::PluginDetail;
use crate::policies::wasm::load::error::PluginError;
use crate::policies::wasm::load::load_request::Load;
use crate::policies::wasm::load::progress::Progress;
use crate::policies::wasm::load::trust::fault::Refusal;
use crate::policies::wasm::load::trust::origin::ModuleBytes;
use crate::policies::wasm::load::trust::rules::{TrustPolicy, Vouched};
use crate::policies::wasm::registry::{PluginInfo, Registry};
use crate::policies::wasm::rollout::operation_error::OperationError;
use crate::policies::wasm::state::stats::PluginStats;

/// Makes policies by name: the built-in ones, and the plugins that were loaded into it.
///
/// A factory is a cheap handle: clones share their plugins.
#[derive(Clone, Debug)]
pub struct PolicyFactory {
    registry: Arc<Registry>,
}

impl Default for PolicyFactory {
    fn default() -> Self {
        Self::new()
    }
}

impl PolicyFactory {
    /// A factory that knows the built-in policies. The Wasm engine starts with the first plugin.
    pub fn new() -> Self {
        Self::with_engine(EngineOptions::default())
    }

    /// The same, with an engine of other settings.
    pub fn with_engine(options: EngineOptions) -> Self {
        Self { registry: Arc::new(Registry::new(options)) }
    }

    /// Loads a plugin with default options; if the name is taken, atomically replaces it.
    ///
    /// # Errors
    ///
    /// [`PluginError`] says what was found, what was expected and what to do; the plugin loaded before
    /// goes on serving.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loads nothing.
    pub async fn load_wasm_plugin(&mut self, config: WasmPolicyConfig) -> Result<PluginInfo, PluginError> {
        self.load(Load::file(config)).await
    }

    /// Loads or replaces a plugin: from a file or from bytes, with options, watched or not.
    ///
    /// # Errors
    ///
    /// As [`load_wasm_plugin`](Self::load_wasm_plugin).
    ///
    /// # Cancel safety
    ///
    /// As [`load_wasm_plugin`](Self::load_wasm_plugin).
    pub async fn load(&self, load: Load) -> Result<PluginInfo, PluginError> {
        self.registry.load(load).await
    }

    /// Sets the rules about signatures for all later loads; loaded plugins stay. By default there are no
    /// rules, and any module is accepted.
    pub fn set_trust(&self, trust: TrustPolicy) {
        self.registry.set_trust(trust);
    }

    /// Says whether a module is signed as the rules want it.
    ///
    /// # Errors
    ///
    /// [`Refusal`]: the first rule that it does not meet.
    pub fn vouches_for(&self, module: &ModuleBytes) -> Result<Vouched, Refusal> {
        self.registry.trust().check(module)
    }

    /// Makes a new generation of the plugin `config.name` from the module that serves, with other
    /// limits, options or configuration. Nothing is compiled.
    ///
    /// # Errors
    ///
    /// [`OperationError`]; the generation that serves goes on.
    ///
    /// # Cancel safety
    ///
    /// As [`load_wasm_plugin`](Self::load_wasm_plugin).
    pub async fn reconfigure_wasm_plugin(
        &self,
        config: WasmPolicyConfig,
        options: PluginOptions,
        progress: Progress,
    ) -> Result<PluginInfo, OperationError> {
        self.registry.reconfigure(config, options, progress).await
    }

    /// Makes the canary or the shadow of a plugin its stable generation; returns its number.
    ///
    /// # Errors
    ///
    /// [`OperationError`] says why not; nothing has changed.
    ///
    /// # Cancel safety
    ///
    /// Do not drop it half way if guest memory is being carried over: the memory may be lost.
    pub async fn promote_wasm_plugin(&self, name: &str) -> Result<u64, OperationError> {
        self.registry.plugin(name)?.promote().await
    }

    /// Drops the canary or the shadow of a plugin, or goes back to the previous generation while it is
    /// warm. Returns the number of the generation that decides then.
    ///
    /// # Errors
    ///
    /// [`OperationError`] says why not; nothing has changed.
    ///
    /// # Cancel safety
    ///
    /// As [`promote_wasm_plugin`](Self::promote_wasm_plugin).
    pub async fn roll_back_wasm_plugin(&self, name: &str) -> Result<u64, OperationError> {
        self.registry.plugin(name)?.roll_back("by the operator").await
    }

    /// Takes a plugin out of the path (its failure policy decides), or puts it back.
    ///
    /// # Errors
    ///
    /// [`OperationError::NotFound`].
    pub fn pause_wasm_plugin(&self, name: &str, paused: bool) -> Result<(), OperationError> {
        self.registry.plugin(name)?.set_paused(paused)
    }

    /// Gets a new value with every change of the generations in use, also without an operator: when a
    /// canary is promoted or a probation fails. The number itself says nothing; see
    /// [`plugin_infos`](Self::plugin_infos) for what serves.
    pub fn changes(&self) -> tokio::sync::watch::Receiver<u64> {
        self.registry.changes()
    }

    /// Everything known about a plugin.
    pub fn plugin_detail(&self, name: &str) -> Option<PluginDetail> {
        self.registry.detail(name)
    }

    /// The policy of that name: a built-in one or a loaded plugin.
    ///
    /// Each call for a built-in name makes a separate policy; a plugin is the same for everybody, and
    /// its handle follows every replacement.
    pub fn create_by_name(&self, name: &str) -> Option<PolicyHandle> {
        match NativePolicy::by_name(name) {
            Some(policy) => Some(PolicyHandle::Native(Arc::new(policy))),
            None => self.registry.get(name).map(PolicyHandle::Wasm),
        }
    }

    /// The names of all loaded plugins, sorted.
    pub fn list_wasm_plugins(&self) -> Vec<String> {
        self.registry.names()
    }

    /// What is known about each loaded plugin, sorted by name.
    pub fn plugin_infos(&self) -> Vec<PluginInfo> {
        self.registry.infos()
    }

    /// What was counted of each loaded plugin, sorted by name.
    pub fn plugin_stats(&self) -> Vec<PluginStats> {
        self.registry.stats()
    }

    /// Unloads a plugin. Calls in flight finish; handles still held follow the plugin's failure policy
    /// until its name is loaded again. False if there is no such plugin.
    pub fn unload_wasm_plugin(&self, name: &str) -> bool {
        self.registry.unload(name)
    }
}
