//! `sgl-router simulate`: policies side by side over a simulated fleet, in virtual time.
//!
//! Exit codes: 0 done, 1 the reports could not be written, 2 wrong usage: flags, files, policies.

mod error;
mod generate_args;
mod trait_args;
mod args;
pub(crate) mod policies;
mod sweep_progress_writer;
mod run;

pub use crate::cli::simulate::args::SimulateArgs;
pub use crate::cli::simulate::error::SimulateError;
pub use crate::cli::simulate::run::run;
