//! How `calibrate` ends if not well.

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use sgl_tools::load::ProbeError;
use sglang_router_rs::types::shown_path;

/// Why an engine was not measured.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CalibrateError {
    /// A flag is not what it should be.
    #[error("{0}")]
    Usage(String),
    /// Somebody else uses the engine.
    #[error(
        "the engine has {running} requests running and {waiting} waiting that are not of this command; --force measures it nevertheless"
    )]
    Busy {
        /// Requests that run.
        running: u32,
        /// Requests that wait.
        waiting: u32,
    },
    /// Nobody answers there.
    #[error(
        "--url: nobody answers at {url} ({why}); expected: an engine that speaks OpenAI's API over HTTP; start it, or \
         give its own address and port"
    )]
    Unanswered {
        /// Where.
        url: String,
        /// How that is known.
        why: &'static str,
    },
    /// Nothing was found of the engine's times.
    #[error("nothing was measured, so no model is written: {0}")]
    NothingMeasured(String),
    /// A request failed.
    #[error(transparent)]
    Probe(#[from] ProbeError),
    /// The runtime could not be made.
    #[error("cannot start the runtime")]
    Runtime(#[source] io::Error),
    /// A report cannot be written.
    #[error("the model cannot be written to {}", shown_path(path))]
    Report {
        /// Where to.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl CalibrateError {
    /// The exit code: 1 not measured or not written, 2 wrong usage, 3 somebody else uses the engine.
    pub fn exit_code(&self) -> ExitCode {
        match self {
            Self::Usage(_) => ExitCode::from(2),
            Self::Busy { .. } => ExitCode::from(3),
            _ => ExitCode::FAILURE,
        }
    }
}
