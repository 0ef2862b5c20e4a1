//! What a source says of one worker.

use crate::config::worker_entry::WorkerEntry;

/// Whether a worker is to have requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OfferedState {
    /// It is.
    Ready,
    /// Not now; it may become ready again.
    NotReady,
    /// Never again: it is being shut down.
    Leaving,
}

/// A worker, as its source says it is now.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Offer {
    /// Checked, with its URL in normal form.
    pub(crate) entry: WorkerEntry,
    /// Whether it is to have requests.
    pub(crate) readiness: OfferedState,
    /// Which one of those that had its name it is, where the source tells: a pod's uid.
    pub(crate) incarnation: String,
}

impl Offer {
    /// One of a source that tells only that it is there.
    pub(crate) fn ready(entry: WorkerEntry) -> Self {
        Self { entry, readiness: OfferedState::Ready, incarnation: String::new() }
    }
}
