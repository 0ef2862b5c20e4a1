//! Loads what a fleet is to serve: the same way as a push, with settings that do not depend on what this
//! router served before.

use crate::manage::error::ManageError;
use crate::manage::kept_set::Change;
use crate::manage::manager::PluginManager;
use crate::manage::settings::Settings;
use sglang_router_rs::config::{PluginOptions, Rollout, WasmPolicyConfig};
use sglang_router_rs::policies::{Load, ModuleBytes, PluginInfo, unwatched};

/// A module to load under a name, with the settings of a fleet.
#[derive(Debug)]
pub(crate) struct DesiredLoad<'a> {
    /// The name.
    pub(crate) name: &'a str,
    /// The module; `None`: the one that serves under this name.
    pub(crate) module: Option<ModuleBytes>,
    /// What to call its source.
    pub(crate) path: String,
    /// Laid over the defaults.
    pub(crate) settings: &'a Settings,
    /// How it takes over, if anything serves under this name.
    pub(crate) rollout: Rollout,
}

impl PluginManager {
    /// Loads it; what served goes on until it is ready.
    ///
    /// # Errors
    ///
    /// [`ManageError`]; what served goes on.
    ///
    /// # Cancel safety
    ///
    /// As [`push`](Self::push).
    pub(crate) async fn load_desired(&self, load: DesiredLoad<'_>) -> Result<PluginInfo, ManageError> {
        let DesiredLoad { name, module, path, settings, rollout } = load;
        let _turn = self.turn(name).await;
        let defaults = (WasmPolicyConfig::new(name, path), PluginOptions::default());
        let (config, mut options) = settings.over(defaults.0, defaults.1, true)?;
        options.rollout = if self.serving(name).is_some() { rollout } else { Rollout::Immediate };
        let Some(module) = module else {
            let info = self.factory().reconfigure_wasm_plugin(config, options, unwatched()).await?;
            self.record(Change::Touched { name: name.to_owned() }).await;
            return Ok(info);
        };
        self.load_kept(config, options, module).await
    }

    /// Loads again, at once, what served under its name before.
    ///
    /// # Errors
    ///
    /// As [`load_desired`](Self::load_desired).
    ///
    /// # Cancel safety
    ///
    /// As there.
    pub(crate) async fn load_again(
        &self,
        config: WasmPolicyConfig,
        options: PluginOptions,
        module: ModuleBytes,
    ) -> Result<(), ManageError> {
        let _turn = self.turn(&config.name).await;
        self.load_kept(config, options, module).await.map(drop)
    }

    async fn load_kept(
        &self,
        config: WasmPolicyConfig,
        options: PluginOptions,
        module: ModuleBytes,
    ) -> Result<PluginInfo, ManageError> {
        let name = config.name.clone();
        let arriving = self.keep_module(&name, &module.wasm).await?;
        let loaded = self.factory().load(Load::module(config, module).with(options)).await;
        if let Some(digest) = arriving {
            self.record(Change::Arrived { name, digest, loaded: loaded.is_ok() }).await;
        }
        Ok(loaded?)
    }
}
