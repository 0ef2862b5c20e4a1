//! What a guest may do: its limits, its imports, its private directory.

use std::sync::Arc;

use parking_lot::Mutex;
use sgl_policy_abi::WASI_MODULE;
use wasmtime::{Linker, Module};

use crate::engine::deadline::Deadline;
use crate::engine::error::EngineError;
use crate::engine::sandbox::last_words::{BacktraceBudget, LastWords};
use crate::engine::sandbox::memory_limiter::MemoryLimiter;
use crate::engine::sandbox::services::HostServices;
use crate::engine::sandbox::store_data::StoreData;
use crate::engine::sandbox::tmp_limits::TmpLimits;
use crate::engine::sandbox::wasi::{PrivateDirectory, System};
use crate::engine::sandbox::{host_functions, wasi};

/// The limits of a plugin's guests.
#[derive(Clone, Debug)]
pub struct SandboxSpec {
    /// Most linear memory of one instance, in bytes.
    pub max_memory_bytes: usize,
    /// WASI functions that may be imported.
    pub allowed_syscalls: Vec<String>,
    /// What the guest sees as `/tmp`; `None` = it sees no file system.
    pub directory: Option<Arc<PrivateDirectory>>,
    /// What the directory may hold, for all guests that see it together.
    pub tmp_limits: TmpLimits,
}

/// The sandbox of one generation.
#[derive(Debug)]
pub(crate) struct Sandbox {
    spec: SandboxSpec,
    backtraces: Arc<BacktraceBudget>,
}

impl Sandbox {
    pub(crate) fn new(spec: SandboxSpec) -> Self {
        Self { spec, backtraces: Arc::default() }
    }

    /// Most linear memory of one instance, in bytes.
    pub(crate) fn max_memory_bytes(&self) -> usize {
        self.spec.max_memory_bytes
    }

    /// The initial data of a new store; the host does `services` for it.
    pub(crate) fn guest(&self, services: Arc<dyn HostServices>) -> Result<StoreData, EngineError> {
        let words = Arc::<Mutex<LastWords>>::default();
        let system = if self.spec.allowed_syscalls.is_empty() {
            None
        } else {
            let directory = self.spec.directory.clone();
            Some(Box::new(System::new(directory, self.spec.tmp_limits, &services, &words)?))
        };
        Ok(StoreData {
            limits: MemoryLimiter::new(self.spec.max_memory_bytes),
            deadline: Deadline::default(),
            system,
            services,
            words,
            backtraces: Arc::clone(&self.backtraces),
        })
    }

    /// Everything that the module may import and does import.
    pub(crate) fn linker(&self, module: &Module) -> Result<Linker<StoreData>, EngineError> {
        let mut linker = Linker::new(module.engine());
        host_functions::link(&mut linker).map_err(|error| EngineError::Link(error.into()))?;
        let mut wanted = module.imports().filter(|import| import.module() == WASI_MODULE).peekable();
        if wanted.peek().is_none() {
            return Ok(linker);
        }
        // The module check has refused this already, with a better message. This refuses to link what
        // the plugin was not given, whatever happened before.
        if let Some(import) = wanted.find(|import| !self.allows(import.name())) {
            return Err(EngineError::Link(format!("system call {} is not allowed", import.name()).into()));
        }
        wasi::link(&mut linker, StoreData::system, self.spec.directory.is_some())?;
        Ok(linker)
    }

    fn allows(&self, function: &str) -> bool {
        self.spec.allowed_syscalls.iter().any(|allowed| allowed == function)
    }
}
