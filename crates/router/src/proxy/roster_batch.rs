//! Many changes of workers that requests see at once.

use std::fmt;

/// Changes wait for each other while it lives; what it holds ends that.
pub(crate) struct RosterBatch<F: FnMut()>(F);

impl<F: FnMut()> RosterBatch<F> {
    /// A batch that has begun, and what ends it.
    pub(crate) fn new(end: F) -> Self {
        Self(end)
    }
}

impl<F: FnMut()> fmt::Debug for RosterBatch<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RosterBatch")
    }
}

impl<F: FnMut()> Drop for RosterBatch<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}
