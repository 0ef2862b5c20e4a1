//! What the system calls of one guest work on.

use std::sync::Arc;

use parking_lot::Mutex;
use wasmtime_wasi::p1::WasiP1Ctx;
use wasmtime_wasi::{FsPerms, WasiCtxBuilder, WasiView};

use crate::engine::error::EngineError;
use crate::engine::sandbox::last_words::LastWords;
use crate::engine::sandbox::services::HostServices;
use crate::engine::sandbox::tmp_limits::TmpLimits;
use crate::engine::sandbox::wasi::directory::{PrivateDirectory, Tmp};
use crate::engine::sandbox::wasi::guest_log::GuestLog;

/// Random bytes that a guest gets at once. The host holds as many again while it makes them, and nothing
/// interrupts it.
const MAX_RANDOM_BYTES: u64 = 64 << 10;

/// Descriptors of one guest, its streams and `/tmp` included. Each open file is one of the
/// router's own descriptors, which its connections need.
const MAX_DESCRIPTORS: usize = 32;

/// What a guest with system calls has: its log, and its directory if it has one.
pub(crate) struct System {
    pub(crate) wasi: WasiP1Ctx,
    pub(crate) tmp: Option<Tmp>,
    pub(crate) services: Arc<dyn HostServices>,
}

impl System {
    /// Opens the directory, and logs what the guest writes to its streams.
    ///
    /// # Errors
    ///
    /// [`EngineError::Directory`] if the directory cannot be opened.
    pub(crate) fn new(
        directory: Option<Arc<PrivateDirectory>>,
        limits: TmpLimits,
        services: &Arc<dyn HostServices>,
        words: &Arc<Mutex<LastWords>>,
    ) -> Result<Self, EngineError> {
        let mut builder = WasiCtxBuilder::new();
        builder.stdout(GuestLog::new(Arc::clone(services), 2, None));
        builder.stderr(GuestLog::new(Arc::clone(services), 1, Some(Arc::clone(words))));
        builder.max_random_size(MAX_RANDOM_BYTES);
        if let Some(directory) = &directory {
            let opened = builder.preopened_dir(directory.path(), "/tmp", FsPerms::ReadWrite);
            opened.map_err(|error| EngineError::Directory(std::io::Error::other(format!("{error:#}"))))?;
        }
        let mut wasi = builder.build_p1();
        // One descriptor more traps.
        wasi.ctx().table.set_max_capacity(MAX_DESCRIPTORS);
        let tmp = directory.map(|directory| Tmp { directory, limits });
        Ok(Self { wasi, tmp, services: Arc::clone(services) })
    }

    /// What a call that works on files needs; `None` if the guest has no directory.
    pub(crate) fn files(&mut self) -> Option<(&mut WasiP1Ctx, &Tmp, &dyn HostServices)> {
        Some((&mut self.wasi, self.tmp.as_ref()?, &*self.services))
    }
}
