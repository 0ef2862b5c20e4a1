//! The data that a store holds for its guest.

use std::fmt;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::engine::deadline::Deadline;
use crate::engine::sandbox::last_words::{BacktraceBudget, LastWords};
use crate::engine::sandbox::memory_limiter::MemoryLimiter;
use crate::engine::sandbox::services::HostServices;
use crate::engine::sandbox::wasi::System;

/// A store's data.
pub(crate) struct StoreData {
    pub(crate) limits: MemoryLimiter,
    pub(crate) deadline: Deadline,
    /// What its system calls work on, if it may make any.
    pub(crate) system: Option<Box<System>>,
    pub(crate) services: Arc<dyn HostServices>,
    /// What it said when it panicked.
    pub(crate) words: Arc<Mutex<LastWords>>,
    pub(crate) backtraces: Arc<BacktraceBudget>,
}

impl StoreData {
    #[expect(clippy::expect_used, reason = "the linker refuses WASI imports of a plugin without any")]
    /// What system calls work on.
    ///
    /// # Panics
    ///
    /// Never: functions that ask for it are linked only for guests that have one.
    pub(crate) fn system(&mut self) -> &mut System {
        self.system.as_deref_mut().expect("a guest that imports WASI has what it works on")
    }
}

impl fmt::Debug for StoreData {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoreData")
            .field("limits", &self.limits)
            .field("deadline", &self.deadline)
            .finish_non_exhaustive()
    }
}
