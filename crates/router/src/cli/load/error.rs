//! How `load` ends if not well.

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use crate::cli::plugin::command_error::CommandError;
use sgl_tools::load::{RunError, TargetSummary};
use sglang_router_rs::types::{shown, shown_path};

/// What helps where clients must show a key.
const HOW_TO_SHOW_A_KEY: &str =
    "; --header-file FILE, with a line `authorization: Bearer KEY`, shows a key, and so does --header";

/// Why a load run ended with an error.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoadError {
    /// The flags do not fit together, or a file that they name cannot be used.
    #[error("{0}")]
    Usage(String),
    /// The run could not be made.
    #[error(transparent)]
    Run(#[from] RunError),
    /// The operators' listener that swaps need does not answer as it should.
    #[error("--swap-plugin: {0}")]
    Swaps(CommandError),
    /// The runtime or its signal handlers could not be made.
    #[error("cannot start the runtime")]
    Runtime(#[source] io::Error),
    /// A report cannot be written.
    #[error("the report cannot be written to {}", shown_path(path))]
    Report {
        /// Where to.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// More requests failed than allowed. The report was written.
    #[error("{found:.4} of the requests failed; allowed: {allowed}")]
    TooManyErrors {
        /// The highest share of a target.
        found: f64,
        /// The share that is allowed.
        allowed: f64,
    },
    /// No request of a target was answered. The report was written.
    #[error("all {requests} requests to {name} failed: {how}")]
    AllFailed {
        /// The target's name.
        name: String,
        /// How many there were.
        requests: u64,
        /// How most of them failed, and what one answer said.
        how: String,
    },
}

impl LoadError {
    /// Of a target that answered nothing.
    pub(crate) fn all_failed(target: &TargetSummary) -> Self {
        let most = target.errors.iter().max_by_key(|(_, count)| **count);
        let kind = most.map_or("", |(kind, _)| kind.as_str());
        let how = match target.error_bodies.get(kind) {
            Some(body) => format!("{kind}, such as {}", shown(body)),
            None => kind.to_owned(),
        };
        let hint = if kind == "status_401" { HOW_TO_SHOW_A_KEY } else { "" };
        Self::AllFailed { name: target.name.clone(), requests: target.requests, how: how + hint }
    }

    /// The exit code: 1 the run could not be made, 2 wrong usage, 3 too many failed requests.
    pub fn exit_code(&self) -> ExitCode {
        match self {
            Self::Usage(_) | Self::Swaps(CommandError::Usage(_)) => ExitCode::from(2),
            Self::TooManyErrors { .. } | Self::AllFailed { .. } => ExitCode::from(3),
            _ => ExitCode::FAILURE,
        }
    }
}
