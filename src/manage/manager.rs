//! The one way to change plugins while the router runs.

use std::path::PathBuf;
use std::time::Instant;

use serde::Deserialize;
use serde::Serialize;

use crate::config::plugin::PluginOptions;
use crate::config::plugin::WasmPolicyConfig;
use crate::config::rollout::Rollout;
use crate::manage::error::ManageError;
use crate::manage::module_file;
use crate::manage::settings::Settings;
use crate::policies::OperationError;
use crate::policies::PluginDetail;
use crate::policies::PolicyFactory;
use crate::policies::Progress;

/// What a plugin that was sent as bytes has for a path.
const UPLOADED: &str = "(uploaded)";

/// Where a module comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Module {
    /// It was sent.
    Bytes(Vec<u8>),
    /// The name of a file in the plugin directory.
    File(String),
}

/// What came of a load.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pushed {
    /// The plugin.
    pub name: String,
    /// The number of the new generation.
    pub generation: u64,
    /// SHA-256 of its module, 64 hex digits.
    pub digest: String,
    /// Version that the module's manifest states.
    pub version: String,
    /// True if no plugin of that name was loaded before.
    pub created: bool,
    /// How it takes over: `immediate` (it has), `canary` or `shadow`.
    pub rollout: String,
    /// Milliseconds that all of it took.
    pub elapsed_ms: u64,
}

/// Changes the plugins of a router: all operations of operators come here.
///
/// # Concurrency
///
/// Has no lock of its own: loads of one name order themselves in the plugin.
#[derive(Debug)]
pub struct PluginManager {
    factory: PolicyFactory,
    plugin_dir: Option<PathBuf>,
    policy: String,
}

impl PluginManager {
    /// A manager of the factory's plugins. `policy` is what the router places requests with.
    pub fn new(factory: PolicyFactory, plugin_dir: Option<PathBuf>, policy: &str) -> Self {
        Self { factory, plugin_dir, policy: policy.to_owned() }
    }

    /// The plugins themselves.
    pub fn factory(&self) -> &PolicyFactory {
        &self.factory
    }

    /// True if the router places requests with this policy.
    pub fn is_in_use(&self, name: &str) -> bool {
        self.policy == name
    }

    /// Everything that is known of a plugin.
    ///
    /// # Errors
    ///
    /// [`OperationError::NotFound`].
    pub fn detail(&self, name: &str) -> Result<PluginDetail, ManageError> {
        Ok(self.factory.plugin_detail(name).ok_or_else(|| not_found(name))?)
    }

    /// Loads a module under a name. A plugin that serves there keeps what the settings do not
    /// change, and serves until the new generation is ready.
    ///
    /// # Errors
    ///
    /// [`ManageError`]; what served goes on.
    ///
    /// # Cancel safety
    ///
    /// Not to be dropped: guest state that is being carried over may be lost.
    pub async fn push(
        &self,
        name: &str,
        module: Module,
        settings: &Settings,
        progress: Progress,
    ) -> Result<Pushed, ManageError> {
        let began = Instant::now();
        let (wasm, path) = self.bytes_of(module).await?;
        let known = self.factory.plugin_detail(name);
        let created = known.is_none();
        let (mut config, options) = match known {
            Some(known) => (known.config, known.options),
            None => (WasmPolicyConfig::new(name, UPLOADED), PluginOptions::default()),
        };
        config.module_path = path;
        let (config, options) = settings.over(config, options, true)?;
        let rollout = if created { Rollout::Immediate } else { options.rollout };
        let info = self.factory.push_wasm_plugin(config, options, Some(wasm), progress).await?;
        Ok(Pushed {
            name: info.name,
            generation: info.generation,
            digest: info.digest,
            version: info.manifest.1,
            created,
            rollout: name_of(rollout).to_owned(),
            elapsed_ms: u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX),
        })
    }

    /// The bytes of a module, and what to call its source.
    async fn bytes_of(&self, module: Module) -> Result<(Vec<u8>, String), ManageError> {
        let file = match module {
            Module::Bytes(bytes) => return Ok((bytes, UPLOADED.to_owned())),
            Module::File(file) => file,
        };
        let dir = self.plugin_dir.clone().ok_or(ManageError::NoPluginDir)?;
        let read = move || {
            let path = module_file::within(&dir, &file)?;
            let bytes = module_file::read(&path)?;
            Ok::<_, ManageError>((bytes, path.to_string_lossy().into_owned()))
        };
        tokio::task::spawn_blocking(read).await.map_err(|_| ManageError::Stopping)?
    }
}

fn name_of(rollout: Rollout) -> &'static str {
    match rollout {
        Rollout::Immediate => "immediate",
        Rollout::Canary(_) => "canary",
        Rollout::Shadow(_) => "shadow",
    }
}

fn not_found(name: &str) -> OperationError {
    OperationError::NotFound { name: name.to_owned() }
}
