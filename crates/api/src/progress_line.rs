//! One line of a load that is followed.

use serde::{Deserialize, Serialize};

use crate::problem::Problem;
use crate::pushed::Pushed;
use sglang_router_rs::policies::LoadStep;

/// Media type of a stream of [`ProgressLine`]s: who accepts it is told each step.
pub const NDJSON: &str = "application/x-ndjson";

/// One line of a stream of progress.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
#[serde(untagged)]
pub enum ProgressLine {
    /// A step begins.
    Step {
        /// Which.
        step: LoadStep,
        /// Milliseconds since the load began.
        elapsed_ms: u64,
    },
    /// The last line: it is loaded.
    Result {
        /// What came of it.
        result: Pushed,
    },
    /// The last line: it is not loaded; nothing has changed.
    Problem {
        /// Why.
        problem: Problem,
    },
}
