//! How a command ends.

use std::io;
use std::process::ExitCode;

use http::StatusCode;

use sgl_api::Problem;
use sglang_router_rs::types::{printable, printable_lines};

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CommandError {
    /// The flags do not fit together, or a file that they name cannot be read.
    #[error("{0}")]
    Usage(String),
    /// The router cannot be reached.
    #[error("the router at {url} cannot be reached: {reason}")]
    Unreachable {
        /// Where it should be.
        url: String,
        /// What went wrong.
        reason: String,
    },
    /// The router refused.
    #[error("{} ({})", printable_lines(&.0.detail), printable(&.0.code))]
    Refused(Box<Problem>),
    /// The router's answer makes no sense.
    #[error("the router's answer cannot be understood: {}", printable(.0))]
    Answer(String),
    /// A watched rollout was rolled back.
    #[error("{0}")]
    RolledBack(String),
    /// A module is not signed as it must be, or cannot be signed.
    #[error("{file}: {reason}")]
    Unsigned {
        /// The module.
        file: String,
        /// Why.
        reason: String,
    },
    /// Nobody reads the output any more, or the terminal is gone.
    #[error("the output cannot be written")]
    Output(#[from] io::Error),
}

impl CommandError {
    /// The exit code: 1 failed, 2 wrong usage, 3 not reached, 4 no such plugin.
    pub fn exit_code(&self) -> ExitCode {
        match self {
            Self::Usage(_) => ExitCode::from(2),
            Self::Unreachable { .. } => ExitCode::from(3),
            // A missing file is not a missing plugin.
            Self::Refused(problem)
                if problem.status == StatusCode::NOT_FOUND.as_u16() && problem.code != "file_not_found" =>
            {
                ExitCode::from(4)
            }
            _ => ExitCode::FAILURE,
        }
    }
}
