//! The steps of making a generation, for whoever watches.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// A step of a load, in the order in which they happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum LoadStep {
    /// The module is read.
    Read,
    /// Its digest, its exports and its imports are checked.
    Verify,
    /// It is compiled, or taken from the compilation cache.
    Compile,
    /// It decides over made-up workers.
    SelfTest,
    /// Its instances are made and warmed.
    Warm,
    /// It takes over. Left out for a canary, a shadow and a first generation: nothing is replaced.
    Swap,
    /// The old generation finishes its calls, in the background. Left out as [`Swap`](Self::Swap) is.
    Drain,
}

/// Called with each step as it begins.
pub type Progress = Arc<dyn Fn(LoadStep) + Send + Sync>;

/// A watcher that ignores every step.
pub fn unwatched() -> Progress {
    Arc::new(|_| ())
}
