//! What a store has with it for its guest.

use std::fmt;
use std::sync::Arc;

use parking_lot::Mutex;
use wasmtime_wasi::p1::WasiP1Ctx;

use crate::engine::deadline::Deadline;
use crate::engine::sandbox::directory::Tmp;
use crate::engine::sandbox::last_words::BacktraceBudget;
use crate::engine::sandbox::last_words::LastWords;
use crate::engine::sandbox::limits::Limits;
use crate::engine::sandbox::services::HostServices;

/// A store's data.
pub(crate) struct Guest {
    pub(crate) limits: Limits,
    pub(crate) deadline: Deadline,
    pub(crate) wasi: Option<Box<WasiP1Ctx>>,
    pub(crate) tmp: Option<Tmp>,
    pub(crate) services: Arc<dyn HostServices>,
    /// What it said as it panicked.
    pub(crate) words: Arc<Mutex<LastWords>>,
    pub(crate) backtraces: Arc<BacktraceBudget>,
}

impl Guest {
    #[expect(clippy::expect_used, reason = "the linker refuses WASI imports of a plugin without any")]
    /// What WASI works on.
    ///
    /// # Panics
    ///
    /// Never: no function that asks for it is linked for a guest without one.
    pub(crate) fn wasi(&mut self) -> &mut WasiP1Ctx {
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
