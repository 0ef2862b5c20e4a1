//! What a guest may do: its limits, its imports, its private directory.

use std::sync::Arc;

use parking_lot::Mutex;
use wasmtime::Linker;
use wasmtime::Module;
use wasmtime_wasi::p1;

use crate::engine::deadline::Deadline;
use crate::engine::error::EngineError;
use crate::engine::sandbox::directory::PrivateDirectory;
use crate::engine::sandbox::directory::Tmp;
use crate::engine::sandbox::guest::Guest;
use crate::engine::sandbox::host_functions;
use crate::engine::sandbox::last_words::BacktraceBudget;
use crate::engine::sandbox::last_words::LastWords;
use crate::engine::sandbox::limits::Limits;
use crate::engine::sandbox::services::HostServices;
use crate::engine::sandbox::tmp_calls;
use crate::engine::sandbox::tmp_usage::TmpLimits;
use crate::engine::sandbox::wasi;
use crate::engine::sandbox::wasi::WASI;

/// The limits of a plugin's guests.
#[derive(Clone, Debug)]
pub struct SandboxSpec {
    /// Linear memory of one instance at most, in bytes.
    pub max_memory_bytes: usize,
    /// WASI functions that may be imported.
    pub allowed_syscalls: Vec<String>,
    /// What the guest sees as `/tmp`; `None` = it sees no file system.
    pub directory: Option<Arc<PrivateDirectory>>,
    /// What all guests that see it may have in it.
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

    /// Linear memory of one instance at most, in bytes.
    pub(crate) fn max_memory_bytes(&self) -> usize {
        self.spec.max_memory_bytes
    }

    /// What a new store starts with; the host does `services` for it.
    pub(crate) fn guest(&self, services: Arc<dyn HostServices>) -> Result<Guest, EngineError> {
        let none = self.spec.allowed_syscalls.is_empty();
        let words = Arc::<Mutex<LastWords>>::default();
        let directory = self.spec.directory.as_deref();
        let wasi = if none { None } else { Some(Box::new(wasi::context(directory, &services, &words)?)) };
        let limits = self.spec.tmp_limits;
        let tmp = self.spec.directory.clone().map(|directory| Tmp { directory, limits });
        Ok(Guest {
            limits: Limits::new(self.spec.max_memory_bytes),
            deadline: Deadline::default(),
            wasi,
            tmp,
            services,
            words,
            backtraces: Arc::clone(&self.backtraces),
        })
    }

    /// Everything that the module may import and does.
    pub(crate) fn linker(&self, module: &Module) -> Result<Linker<Guest>, EngineError> {
        let mut linker = Linker::new(module.engine());
        host_functions::link(&mut linker).map_err(|error| EngineError::Link(error.into()))?;
        let mut wanted = module.imports().filter(|import| import.module() == WASI).peekable();
        if wanted.peek().is_none() {
            return Ok(linker);
        }
        // The validator has refused this already, with a better message; here nothing that the
        // plugin was not given is linked, whatever came before.
        if let Some(import) = wanted.find(|import| !self.allows(import.name())) {
            return Err(EngineError::Link(format!("system call {} is not allowed", import.name()).into()));
        }
        p1::add_to_linker_async(&mut linker, Guest::wasi).map_err(|error| EngineError::Link(error.into()))?;
        if self.spec.directory.is_some() {
            tmp_calls::link(&mut linker).map_err(|error| EngineError::Link(error.into()))?;
        }
        Ok(linker)
    }

    fn allows(&self, function: &str) -> bool {
        self.spec.allowed_syscalls.iter().any(|allowed| allowed == function)
    }
}
