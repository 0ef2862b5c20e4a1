//! Why workers are not changed.

use crate::config::worker_source::WorkerSource;
use sgl_upstream::WorkerUrlError;
use sglang_router_rs::core::FleetError;

/// Why a worker could not be added.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AddError {
    /// The URL is in use.
    #[error(transparent)]
    Fleet(#[from] FleetError),
    /// The URL is none.
    #[error("the URL of a worker must be {0}")]
    Url(#[from] WorkerUrlError),
}

/// Why a worker goes on draining.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UndrainError {
    /// Ending its drain alone would not keep it: it was taken off the list that outlives a restart. Who adds
    /// it again keeps it.
    #[error("worker {url} is being removed; add it again to keep it")]
    Leaving {
        /// Its URL.
        url: String,
    },
    /// Its source has it drained, too.
    #[error("worker {url} is not ready, says its source ({told_by}); it gets requests once that says it is")]
    NotReady {
        /// Its URL.
        url: String,
        /// The source.
        told_by: WorkerSource,
    },
}
