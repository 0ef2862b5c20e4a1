//! Where modules come from: files, the program itself, registries, and who sends them.

use std::path::PathBuf;
use std::sync::Arc;

use sgl_oci::ModuleReference;

use crate::config::embedded_path::embedded_name;
use crate::manage::embedded;
use crate::manage::error::ManageError;
use crate::manage::module_file;
use crate::manage::module_file::Module;
use crate::manage::registry_modules::{RegistryModules, TagMeaning};
use sglang_router_rs::policies::{Load, ModuleBytes, Origin, PolicyFactory, WasmPolicyConfig, read_module};

/// The path of a plugin that was sent as bytes.
pub(crate) const UPLOADED: &str = "(uploaded)";

/// Where modules are found.
#[derive(Clone, Debug, Default)]
pub(crate) struct ModuleSources {
    /// Where operators may name files in.
    pub(crate) plugin_dir: Option<PathBuf>,
    /// Modules of registries.
    pub(crate) registry: Arc<RegistryModules>,
}

impl ModuleSources {
    /// The bytes of a module that an operator sends or names, and what to call its source.
    ///
    /// # Errors
    ///
    /// [`ManageError`] if it cannot be had, or may not.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future ends it.
    pub(crate) async fn of_operator(
        &self,
        module: Module,
        factory: &PolicyFactory,
    ) -> Result<(ModuleBytes, String), ManageError> {
        let file = match module {
            Module::Bytes { wasm, signature } => {
                let sent = ModuleBytes { wasm, signature, origin: Origin::Push };
                return Ok((sent, UPLOADED.to_owned()));
            }
            Module::File(file) => file,
        };
        if ModuleReference::is_one(&file) {
            return Ok(self.registry.fetch(&file, TagMeaning::Now, factory).await?);
        }
        if embedded_name(&file).is_some() {
            return Ok((embedded::module_at(&file)?, file));
        }
        let dir = self.plugin_dir.clone().ok_or(ManageError::NoPluginDir)?;
        let read = move || {
            let path = module_file::within(&dir, &file)?;
            let module = read_module(&path)?;
            Ok::<_, ManageError>((module, path.to_string_lossy().into_owned()))
        };
        tokio::task::spawn_blocking(read).await.map_err(|_| ManageError::Stopping)?
    }

    /// The bytes of a module that the configuration names, and what to call its source.
    ///
    /// # Errors
    ///
    /// [`ManageError`] if it cannot be had.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future ends it.
    pub(crate) async fn of_configuration(
        &self,
        path: String,
        factory: &PolicyFactory,
    ) -> Result<(ModuleBytes, String), ManageError> {
        if ModuleReference::is_one(&path) {
            return Ok(self.registry.fetch(&path, TagMeaning::Known, factory).await?);
        }
        let read = move || Ok((embedded::module_at(&path)?, path));
        tokio::task::spawn_blocking(read).await.map_err(|_| ManageError::Stopping)?
    }

    /// The load of the module that the settings of the configuration name.
    ///
    /// # Errors
    ///
    /// As [`of_configuration`](Self::of_configuration). A file is read by the load.
    ///
    /// # Cancel safety
    ///
    /// As there.
    pub(crate) async fn load_of(
        &self,
        mut config: WasmPolicyConfig,
        factory: &PolicyFactory,
    ) -> Result<Load, ManageError> {
        if !ModuleReference::is_one(&config.module_path) {
            return Ok(embedded::load_of(config)?);
        }
        let (module, path) = self.of_configuration(config.module_path, factory).await?;
        config.module_path = path;
        Ok(Load::module(config, module))
    }
}
