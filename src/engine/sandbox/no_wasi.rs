//! Replaces the system calls in a build without the feature `wasi`: the same names as in `wasi/`, all of
//! which refuse.

use std::path::Path;
use std::sync::Arc;

use parking_lot::Mutex;
use wasmtime::{Linker, Module};

use crate::config::syscalls;
use crate::engine::error::EngineError;
use crate::engine::sandbox::last_words::LastWords;
use crate::engine::sandbox::services::HostServices;
use crate::engine::sandbox::tmp_limits::TmpLimits;

/// A plugin's own directory. This build has none.
#[derive(Debug)]
pub enum PrivateDirectory {}

impl PrivateDirectory {
    /// Refuses.
    ///
    /// # Errors
    ///
    /// [`EngineError::Link`], always.
    pub fn new() -> Result<Self, EngineError> {
        Err(missing())
    }

    /// Where it is on the host.
    pub fn path(&self) -> &Path {
        match *self {}
    }
}

/// What a guest with system calls has. This build has no such guest.
pub(crate) enum System {}

impl System {
    /// Refuses.
    ///
    /// # Errors
    ///
    /// [`EngineError::Link`], always.
    pub(crate) fn new(
        _: Option<Arc<PrivateDirectory>>,
        _: TmpLimits,
        _: &Arc<dyn HostServices>,
        _: &Arc<Mutex<LastWords>>,
    ) -> Result<Self, EngineError> {
        Err(missing())
    }
}

/// Refuses: called for a module that imports a system call.
///
/// # Errors
///
/// [`EngineError::Link`], always.
pub(crate) fn link<T>(
    _: &mut Linker<T>,
    _: fn(&mut T) -> &mut System,
    _has_directory: bool,
) -> Result<(), EngineError> {
    Err(missing())
}

/// True if calls into the module may have to wait for the host: never, without system calls.
pub(crate) fn needs_host_futures(_: &Module) -> bool {
    false
}

fn missing() -> EngineError {
    EngineError::Link(syscalls::MISSING.into())
}
