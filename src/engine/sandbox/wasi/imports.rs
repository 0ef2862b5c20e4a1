//! The system calls as imports of a module.

use sgl_policy_abi::WASI_MODULE;
use wasmtime::{Linker, Module};
use wasmtime_wasi::p1;

use crate::engine::error::EngineError;
use crate::engine::sandbox::wasi::system::System;
use crate::engine::sandbox::wasi::tmp_calls;

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

/// Links all system calls. `system` finds what they work on in a store's data; with `has_directory` they
/// may fill one, and are held to its limits.
///
/// # Errors
///
/// [`EngineError::Link`].
pub(crate) fn link<T: Send + 'static>(
    linker: &mut Linker<T>,
    system: fn(&mut T) -> &mut System,
    has_directory: bool,
) -> Result<(), EngineError> {
    let failed = |error: wasmtime::Error| EngineError::Link(error.into());
    p1::add_to_linker_async(linker, move |data| &mut system(data).wasi).map_err(failed)?;
    if has_directory { tmp_calls::link(linker, system).map_err(failed) } else { Ok(()) }
}

/// True if calls into the module may have to wait for the host.
pub(crate) fn needs_host_futures(module: &Module) -> bool {
    module.imports().any(|import| import.module() == WASI_MODULE && !IMMEDIATE.contains(&import.name()))
}
