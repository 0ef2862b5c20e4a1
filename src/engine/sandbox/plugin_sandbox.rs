//! What a guest may do: its limits, its imports, its private directory.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use parking_lot::Mutex;
use tempfile::TempDir;
use wasmtime::Linker;
use wasmtime::Module;
use wasmtime::ResourceLimiter;
use wasmtime_wasi::FsPerms;
use wasmtime_wasi::WasiCtxBuilder;
use wasmtime_wasi::WasiView;
use wasmtime_wasi::p1;
use wasmtime_wasi::p1::WasiP1Ctx;

use crate::engine::deadline::Deadline;
use crate::engine::error::EngineError;
use crate::engine::guest_log::GuestLog;
use crate::engine::host_functions;
use crate::engine::last_words::BacktraceBudget;
use crate::engine::last_words::LastWords;
use crate::engine::tmp_calls;
use crate::engine::tmp_quota::Ledger;
use crate::engine::tmp_quota::TmpLimits;

/// The module name under which WASI preview 1 is imported.
pub(crate) const WASI: &str = "wasi_snapshot_preview1";

/// Random bytes that a guest gets at once. The host holds as many again while it makes them, and
/// nothing interrupts it.
const MAX_RANDOM_BYTES: u64 = 64 << 10;

/// Descriptors of one guest, its streams and `/tmp` included. Each open file is one of the
/// router's own descriptors, which its connections need.
const MAX_DESCRIPTORS: usize = 32;

/// WASI functions that work without a host future: a module that imports no other one can be
/// called on the caller's own stack.
const IMMEDIATE: [&str; 12] = [
    "args_get",
    "args_sizes_get",
    "clock_res_get",
    "clock_time_get",
    "environ_get",
    "environ_sizes_get",
    "fd_fdstat_set_flags",
    "fd_prestat_dir_name",
    "fd_prestat_get",
    "proc_exit",
    "random_get",
    "sched_yield",
];

/// What the host does for a plugin's guests. None of it may block, or take long.
///
/// Implemented above the engine, which does not know what a plugin is.
pub trait HostServices: Send + Sync + fmt::Debug {
    /// A log line of the guest. 0 error, 1 warn, 2 info, 3 debug, 4 trace. The implementation
    /// limits the rate.
    fn log(&self, level: u8, line: &str);

    /// Adds to a counter and returns its new value; `None` if there is no such slot.
    fn counter_add(&self, slot: u32, delta: i64) -> Option<i64>;

    /// A value of the shared map.
    fn kv_get(&self, key: &[u8]) -> Option<Arc<[u8]>>;

    /// Stores a value; an error is the ABI's negative code.
    ///
    /// # Errors
    ///
    /// The code says which limit was met.
    fn kv_set(&self, key: &[u8], value: &[u8]) -> Result<(), i32>;

    /// A call was refused because the private directory is full.
    fn tmp_full(&self);
}

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

/// A directory of one plugin's own, under the system's temp directory, with mode 0700 and an
/// unguessable name. It goes, with all that is in it, when the last generation of the plugin does.
#[derive(Debug)]
pub struct PrivateDirectory {
    directory: TempDir,
    ledger: Arc<Ledger>,
}

impl PrivateDirectory {
    /// Makes the directory.
    ///
    /// # Errors
    ///
    /// [`EngineError::Directory`] if the system refuses.
    pub fn new() -> Result<Self, EngineError> {
        let mut builder = tempfile::Builder::new();
        builder.prefix("sgl-plugin-");
        #[cfg(unix)]
        builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o700));
        let directory = builder.tempdir().map_err(EngineError::Directory)?;
        Ok(Self { directory, ledger: Arc::default() })
    }

    /// Where it is on the host.
    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// What is in it.
    pub(crate) fn ledger(&self) -> &Arc<Ledger> {
        &self.ledger
    }
}

/// The private directory as one guest sees it.
#[derive(Debug)]
pub(crate) struct Tmp {
    pub(crate) directory: Arc<PrivateDirectory>,
    pub(crate) limits: TmpLimits,
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
        let wasi = if none { None } else { Some(Box::new(self.wasi(&services, &words)?)) };
        let limits = self.spec.tmp_limits;
        let tmp = self.spec.directory.clone().map(|directory| Tmp { directory, limits });
        Ok(Guest {
            limits: Limits { max_bytes: self.spec.max_memory_bytes, refused: false, grown_to: 0 },
            deadline: Deadline::default(),
            wasi,
            tmp,
            services,
            words,
            backtraces: Arc::clone(&self.backtraces),
        })
    }

    fn wasi(
        &self,
        services: &Arc<dyn HostServices>,
        words: &Arc<Mutex<LastWords>>,
    ) -> Result<WasiP1Ctx, EngineError> {
        let mut builder = WasiCtxBuilder::new();
        builder.stdout(GuestLog::new(Arc::clone(services), 2, None));
        builder.stderr(GuestLog::new(Arc::clone(services), 1, Some(Arc::clone(words))));
        builder.max_random_size(MAX_RANDOM_BYTES);
        if let Some(directory) = &self.spec.directory {
            let opened = builder.preopened_dir(directory.path(), "/tmp", FsPerms::ReadWrite);
            opened.map_err(|error| EngineError::Directory(std::io::Error::other(format!("{error:#}"))))?;
        }
        let mut wasi = builder.build_p1();
        // One more is a trap.
        wasi.ctx().table.set_max_capacity(MAX_DESCRIPTORS);
        Ok(wasi)
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

/// True if calls into the module may have to wait for the host.
pub(crate) fn needs_host_futures(module: &Module) -> bool {
    module.imports().any(|import| import.module() == WASI && !IMMEDIATE.contains(&import.name()))
}

/// A store's data.
pub(crate) struct Guest {
    pub(crate) limits: Limits,
    pub(crate) deadline: Deadline,
    wasi: Option<Box<WasiP1Ctx>>,
    tmp: Option<Tmp>,
    pub(crate) services: Arc<dyn HostServices>,
    /// What it said as it panicked.
    pub(crate) words: Arc<Mutex<LastWords>>,
    pub(crate) backtraces: Arc<BacktraceBudget>,
}

impl Guest {
    #[expect(clippy::expect_used, reason = "the linker refuses WASI imports of a plugin without any")]
    fn wasi(&mut self) -> &mut WasiP1Ctx {
        self.wasi.as_deref_mut().expect("a guest that imports WASI has a context")
    }

    /// What a call that works on files needs.
    pub(crate) fn files(&mut self) -> Option<(&mut WasiP1Ctx, &Tmp, &dyn HostServices)> {
        Some((self.wasi.as_deref_mut()?, self.tmp.as_ref()?, &*self.services))
    }
}

impl fmt::Debug for Guest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guest")
            .field("limits", &self.limits)
            .field("deadline", &self.deadline)
            .finish_non_exhaustive()
    }
}

/// Elements that a guest's table may have: far above what a policy's function pointers need.
const MAX_TABLE_ELEMENTS: usize = 20_000;

/// Memory and table limits of a store.
#[derive(Debug)]
pub(crate) struct Limits {
    max_bytes: usize,
    /// Set when growth was refused, to tell a memory failure from other traps.
    pub(crate) refused: bool,
    /// The largest size so far, in bytes.
    pub(crate) grown_to: usize,
}

impl Limits {
    /// Linear memory at most, in bytes.
    pub(crate) fn max_bytes(&self) -> usize {
        self.max_bytes
    }
}

impl ResourceLimiter for Limits {
    fn memory_growing(
        &mut self,
        _current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let allowed = desired <= self.max_bytes && maximum.is_none_or(|maximum| desired <= maximum);
        if allowed {
            self.grown_to = desired;
        } else {
            self.refused = true;
        }
        Ok(allowed)
    }

    fn memory_grow_failed(&mut self, _error: wasmtime::Error) -> wasmtime::Result<()> {
        // The guest sees -1, as if the limit had refused it: never a host error.
        self.refused = true;
        Ok(())
    }

    fn table_growing(
        &mut self,
        _current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let allowed = desired <= MAX_TABLE_ELEMENTS && maximum.is_none_or(|maximum| desired <= maximum);
        // A table is memory, too: a guest that fails for want of it fails for want of memory.
        self.refused |= !allowed;
        Ok(allowed)
    }

    fn table_grow_failed(&mut self, _error: wasmtime::Error) -> wasmtime::Result<()> {
        self.refused = true;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn growth_beyond_the_limit_is_refused_and_remembered() {
        let mut limits = Limits { max_bytes: 131_072, refused: false, grown_to: 0 };
        assert!(limits.memory_growing(0, 131_072, None).unwrap());
        assert!(!limits.refused);
        assert!(!limits.memory_growing(131_072, 196_608, None).unwrap());
        assert!(limits.refused);
        assert_eq!(limits.grown_to, 131_072);
    }
}
