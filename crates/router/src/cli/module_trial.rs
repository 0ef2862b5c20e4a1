//! Loads plugins aside, to see whether a router could.

use std::sync::Arc;

use crate::cli::engine_options::engine_options;
use crate::config::checked::CheckedConfig;
use crate::config::plugin_entry::PluginEntry;
use crate::manage::registry_modules::RegistryModules;
use crate::manage::{ManageError, ModuleSources};
use sglang_router_rs::config::Rollout;
use sglang_router_rs::engine::EngineOptions;
use sglang_router_rs::policies::{PolicyFactory, TrustPolicy};

/// An engine of its own, with the limits of a configuration, in which nothing serves.
#[derive(Debug)]
pub(crate) struct ModuleTrial {
    factory: PolicyFactory,
    sources: ModuleSources,
}

impl ModuleTrial {
    /// For plugins of this configuration. No directory is made for it, and nothing compiled is left: what one user
    /// compiles into the cache of another could not be replaced there.
    pub(crate) fn new(config: &CheckedConfig, trust: TrustPolicy) -> Self {
        let engine = EngineOptions { aot_cache: None, ..engine_options(config) };
        let factory = PolicyFactory::with_engine(engine);
        factory.set_trust(trust);
        let mut registry = config.registry.clone();
        registry.cache = registry.cache.filter(|cache| cache.exists());
        let registry = Arc::new(RegistryModules::new(&registry));
        Self { factory, sources: ModuleSources { registry, ..ModuleSources::default() } }
    }

    /// Loads a plugin as a router would: reads, verifies, compiles and asks it, and lets it go.
    ///
    /// # Errors
    ///
    /// [`ManageError`], as a router would say.
    ///
    /// # Cancel safety
    ///
    /// Nothing is left.
    pub(crate) async fn load(&self, entry: PluginEntry) -> Result<(), ManageError> {
        let (settings, mut options) = entry.into_parts();
        // There is nothing beside which it could be a canary.
        options.rollout = Rollout::Immediate;
        let name = settings.name.clone();
        let load = self.sources.load_of(settings, &self.factory).await?;
        let loaded = self.factory.load(load.with(options)).await;
        self.factory.unload_wasm_plugin(&name);
        Ok(loaded.map(|_| ())?)
    }
}
