//! How often a request may be worked on without an answer.

use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;

/// What a request may do once: run a second time after a run that broke its connection, fell
/// silent or failed. One that makes workers crash thus takes two of them with it at most, whatever
/// the state of their connections. Both halves of a pair share it.
#[derive(Debug, Default)]
pub struct SecondRun {
    taken: AtomicBool,
}

impl SecondRun {
    /// For a request that must not run twice.
    pub fn none() -> Self {
        Self { taken: AtomicBool::new(true) }
    }

    /// True if it is left.
    pub fn is_left(&self) -> bool {
        // Relaxed: it orders nothing else.
        !self.taken.load(Ordering::Relaxed)
    }

    /// Uses it up; false if it was before.
    pub fn take(&self) -> bool {
        // Relaxed: see `is_left`.
        !self.taken.swap(true, Ordering::Relaxed)
    }
}
