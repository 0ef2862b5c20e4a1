//! Where a request is, for who tells of it if it ends before an answer begins.

use http::HeaderValue;
use parking_lot::Mutex;

/// The worker that a request was placed at last.
#[derive(Debug, Default)]
pub(crate) struct PlacedAt(Mutex<Option<HeaderValue>>);

impl PlacedAt {
    /// It is at this worker now.
    pub(crate) fn set(&self, worker: HeaderValue) {
        *self.0.lock() = Some(worker);
    }

    /// Where it was last.
    pub(crate) fn take(&self) -> Option<HeaderValue> {
        self.0.lock().take()
    }
}
