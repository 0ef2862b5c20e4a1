//! What came of a call that went to several workers.

use serde::Serialize;

/// What came of it, all in all and at each worker.
#[derive(Clone, Debug, PartialEq, Serialize, utoipa::ToSchema)]
pub(crate) struct FanOutView {
    /// `success`, `partial_success` or `failure`.
    pub(crate) status: String,
    /// The same in a sentence.
    pub(crate) message: String,
    /// URLs of the workers that did it.
    pub(crate) successful: Vec<String>,
    /// Those that did not, and why.
    pub(crate) failed: Vec<FanOutFailure>,
    /// How many were asked.
    pub(crate) total_workers: usize,
    /// What each answered.
    pub(crate) workers: Vec<FanOutAnswer>,
}

/// A worker that did not do it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub(crate) struct FanOutFailure {
    /// Its URL.
    pub(crate) worker: String,
    /// Why not.
    pub(crate) error: String,
}

/// What a worker answered.
#[derive(Clone, Debug, PartialEq, Serialize, utoipa::ToSchema)]
pub(crate) struct FanOutAnswer {
    /// Its id.
    pub(crate) id: String,
    /// Its URL.
    pub(crate) url: String,
    /// The status of its answer; null: there was none.
    pub(crate) status: Option<u16>,
    /// The answer: JSON as it is, else as text.
    pub(crate) body: serde_json::Value,
    /// Milliseconds that it took.
    pub(crate) took_ms: u64,
}
