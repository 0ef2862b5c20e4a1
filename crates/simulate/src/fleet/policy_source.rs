//! Policies for runs: each run gets one that knows nothing of those before.

use std::collections::HashMap;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tempfile::TempDir;
use tokio::runtime::Runtime;

use crate::rivals::{EngineViews, RivalPolicy};
use sgl_policy_abi::{Column, Input};
use sglang_router_rs::engine::EngineOptions;
use sglang_router_rs::policies::{
    Load, ModuleBytes, ModuleFault, PluginError, PluginOptions, PolicyFactory, PolicyHandle,
    WasmPolicyConfig, check_module, read_module,
};

/// Time for a call of a plugin, in milliseconds. Generous, so that what a busy machine does besides does not
/// decide what a simulation shows; a call that takes so long has failed.
const CALL_MS: u64 = 2000;

/// Where a module is.
#[derive(Clone, Debug, PartialEq)]
pub enum PolicyModule {
    /// In this file.
    File(PathBuf),
    /// Here.
    Bytes(Vec<u8>),
}

/// A policy by its name, or a module.
#[derive(Clone, Debug, PartialEq)]
pub struct PolicySource {
    /// What reports call it.
    pub name: String,
    /// Its module; `None` = it is a built-in one, or a [model of another router's](crate::rivals).
    pub module: Option<PolicyModule>,
    /// The plugin's configuration.
    pub config: HashMap<String, serde_json::Value>,
    /// System calls that it may make.
    pub allowed_syscalls: Vec<String>,
    /// Bytes of memory that it may have; `None` = as in a router that says nothing of it.
    pub max_memory_bytes: Option<usize>,
}

impl PolicySource {
    /// A built-in policy, or a model of another router's: no module, no settings.
    pub fn native(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            module: None,
            config: HashMap::new(),
            allowed_syscalls: Vec::new(),
            max_memory_bytes: None,
        }
    }

    /// A module under this name, without settings.
    pub fn module(name: impl Into<String>, module: PolicyModule) -> Self {
        Self { module: Some(module), ..Self::native(name) }
    }
}

/// Why there is no such policy.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PolicyFault {
    /// Nothing is known by that name.
    #[error("there is no policy {name:?}, and it is no file that ends in .wasm")]
    Unknown {
        /// The name.
        name: String,
    },
    /// The module cannot be used.
    #[error("the module of {name:?} cannot be used")]
    Module {
        /// The policy's name.
        name: String,
        /// What is wrong with it.
        source: ModuleFault,
    },
    /// The plugin cannot be loaded.
    #[error("{name:?} cannot be loaded")]
    Load {
        /// The policy's name.
        name: String,
        /// Why not.
        source: PluginError,
    },
    /// It is a model of another router's policy, which sees engines as only a simulation can show them.
    #[error("{name:?} is a model of another router's policy: it decides in simulations only")]
    OnlySimulated {
        /// The name.
        name: String,
    },
    /// The system refused what a simulation of plugins needs.
    #[error("plugins cannot be simulated")]
    System(#[from] io::Error),
}

/// Where policies come from. Modules are compiled once.
#[derive(Debug)]
pub struct PolicyShelf {
    factory: PolicyFactory,
    runtime: Runtime,
    reasks: u32,
    _compiled: TempDir,
}

/// A policy that nobody has asked yet. It is gone for good when this is dropped.
#[derive(Debug)]
pub struct FreshPolicy {
    /// The policy.
    pub handle: PolicyHandle,
    /// What its module declares; `None` for one that declares nothing: a native policy, or one that gets rows.
    pub inputs: Option<Vec<Input>>,
    /// True if it looks at tokens as they are generated.
    pub(crate) counts_tokens: bool,
    /// What it sees of engines; `None` = it is one of this router's, which hears of them as a router does.
    pub(crate) views: Option<Arc<EngineViews>>,
    /// Under which name it is loaded.
    loaded: Option<(PolicyFactory, String)>,
}

impl From<PolicyHandle> for FreshPolicy {
    /// A policy of one's own.
    fn from(handle: PolicyHandle) -> Self {
        Self { handle, inputs: None, counts_tokens: false, views: None, loaded: None }
    }
}

impl From<RivalPolicy> for FreshPolicy {
    fn from(rival: RivalPolicy) -> Self {
        let views = Some(rival.views());
        Self {
            handle: PolicyHandle::Custom(Arc::new(rival)),
            inputs: None,
            counts_tokens: false,
            views,
            loaded: None,
        }
    }
}

impl PolicyShelf {
    /// An empty shelf.
    ///
    /// # Errors
    ///
    /// [`PolicyFault::System`].
    pub fn new() -> Result<Self, PolicyFault> {
        let compiled = TempDir::with_prefix("sgl-simulate-")?;
        let options =
            EngineOptions { aot_cache: Some(compiled.path().join("modules")), ..EngineOptions::default() };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let factory = PolicyFactory::with_engine(options);
        Ok(Self { factory, runtime, reasks: PluginOptions::DEFAULT_REASKS, _compiled: compiled })
    }

    /// The same for plugins with this [`PluginOptions::reasks`].
    #[must_use]
    pub fn with_reasks(self, reasks: u32) -> Self {
        Self { reasks, ..self }
    }

    /// A fresh policy.
    ///
    /// # Errors
    ///
    /// [`PolicyFault`].
    pub fn take(&self, source: &PolicySource) -> Result<FreshPolicy, PolicyFault> {
        let name = || source.name.clone();
        let Some(module) = &source.module else {
            if let Some(rival) = RivalPolicy::by_name(&source.name) {
                return Ok(rival.into());
            }
            let handle = self.factory.create_by_name(&source.name);
            let handle = handle.ok_or_else(|| PolicyFault::Unknown { name: name() })?;
            return Ok(handle.into());
        };
        static TAKEN: AtomicU64 = AtomicU64::new(0);
        // Relaxed: only uniqueness matters.
        let loaded_as = format!("simulated-{}", TAKEN.fetch_add(1, Ordering::Relaxed));
        let fault = |source| PolicyFault::Load { name: name(), source };
        let (module, path) = match module {
            PolicyModule::File(path) => (read_module(path).map_err(fault)?, path.to_string_lossy()),
            PolicyModule::Bytes(wasm) => (ModuleBytes::from(wasm.clone()), source.name.as_str().into()),
        };
        let config = WasmPolicyConfig {
            max_execution_time_ms: CALL_MS,
            config: source.config.clone(),
            allowed_syscalls: source.allowed_syscalls.clone(),
            max_memory_bytes: source.max_memory_bytes.unwrap_or(WasmPolicyConfig::DEFAULT_MEMORY_BYTES),
            ..WasmPolicyConfig::new(&loaded_as, path)
        };
        let facts = check_module(&module.wasm, config.max_memory_bytes, &config.allowed_syscalls)
            .map_err(|source| PolicyFault::Module { name: name(), source })?;
        let inputs = facts.manifest.inputs;
        let counts_tokens = inputs.contains(&Input::Column(Column::TokensInFlight));
        self.runtime
            .block_on(self.factory.load(Load::module(config, module).with(options(self.reasks))))
            .map_err(fault)?;
        let handle = self.factory.create_by_name(&loaded_as);
        let handle = handle.ok_or_else(|| PolicyFault::Unknown { name: name() })?;
        Ok(FreshPolicy {
            handle,
            inputs: Some(inputs).filter(|inputs| !inputs.is_empty()),
            counts_tokens,
            views: None,
            loaded: Some((self.factory.clone(), loaded_as)),
        })
    }
}

/// One instance, which nobody waits for: a run asks one question at a time.
fn options(reasks: u32) -> PluginOptions {
    PluginOptions { min_warm: 1, max_instances: 1, reasks, ..PluginOptions::default() }
}

impl Drop for FreshPolicy {
    fn drop(&mut self) {
        if let Some((factory, name)) = &self.loaded {
            factory.unload_wasm_plugin(name);
        }
    }
}
