//! How `simulate` ends if not well.

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use crate::cli::registry_reading::UnreadModule;
use sgl_simulate::engine::ModelError;
use sgl_simulate::fleet::{PolicyFault, SetupError};
use sgl_simulate::workload::GeneratorError;
use sgl_tools::load::TraceError;
use sglang_router_rs::types::shown_path;

/// Why there is no simulation.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SimulateError {
    /// A flag is not what it should be.
    #[error("{0}")]
    Usage(String),
    /// A file that a flag names cannot be read.
    #[error("{flag}: {} cannot be read", shown_path(path))]
    Unreadable {
        /// The flag.
        flag: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The trace cannot be used.
    #[error("--trace: {}", shown_path(path))]
    Trace {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: TraceError,
    },
    /// What is to be made up cannot be.
    #[error("--generate: {}", shown_path(path))]
    Generator {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: GeneratorError,
    },
    /// The model cannot be used.
    #[error("--model: {}", shown_path(path))]
    Model {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: ModelError,
    },
    /// What befalls workers cannot be.
    #[error("--worker-events: {}", shown_path(path))]
    Events {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: ModelError,
    },
    /// There can be no such fleet.
    #[error(transparent)]
    Setup(#[from] SetupError),
    /// There is no such policy.
    #[error("--policy: {0}")]
    Policy(#[from] PolicyFault),
    /// A module cannot be read from its registry.
    #[error("--policy: {reference}")]
    Unread {
        /// The module.
        reference: String,
        /// What is wrong with it, or with the registry.
        source: UnreadModule,
    },
    /// The report cannot be written.
    #[error("the report cannot be written to {}", shown_path(path))]
    Report {
        /// Where to.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl SimulateError {
    /// The exit code: 1 the report could not be written or a module not be read from its registry, 2 wrong usage.
    pub fn exit_code(&self) -> ExitCode {
        match self {
            Self::Report { .. } | Self::Unread { .. } => ExitCode::FAILURE,
            _ => ExitCode::from(2),
        }
    }
}
