//! The system calls of a guest: which module they are of, and what they work on.

use std::sync::Arc;

use parking_lot::Mutex;
use wasmtime::Module;
use wasmtime_wasi::FsPerms;
use wasmtime_wasi::WasiCtxBuilder;
use wasmtime_wasi::WasiView;
use wasmtime_wasi::p1::WasiP1Ctx;

use crate::engine::error::EngineError;
use crate::engine::sandbox::directory::PrivateDirectory;
use crate::engine::sandbox::guest_log::GuestLog;
use crate::engine::sandbox::last_words::LastWords;
use crate::engine::sandbox::services::HostServices;

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

/// What WASI works on for one guest: its log, and its directory if it has one.
pub(crate) fn context(
    directory: Option<&PrivateDirectory>,
    services: &Arc<dyn HostServices>,
    words: &Arc<Mutex<LastWords>>,
) -> Result<WasiP1Ctx, EngineError> {
    let mut builder = WasiCtxBuilder::new();
    builder.stdout(GuestLog::new(Arc::clone(services), 2, None));
    builder.stderr(GuestLog::new(Arc::clone(services), 1, Some(Arc::clone(words))));
    builder.max_random_size(MAX_RANDOM_BYTES);
    if let Some(directory) = directory {
        let opened = builder.preopened_dir(directory.path(), "/tmp", FsPerms::ReadWrite);
        opened.map_err(|error| EngineError::Directory(std::io::Error::other(format!("{error:#}"))))?;
    }
    let mut wasi = builder.build_p1();
    // One more is a trap.
    wasi.ctx().table.set_max_capacity(MAX_DESCRIPTORS);
    Ok(wasi)
}

/// True if calls into the module may have to wait for the host.
pub(crate) fn needs_host_futures(module: &Module) -> bool {
    module.imports().any(|import| import.module() == WASI && !IMMEDIATE.contains(&import.name()))
}
