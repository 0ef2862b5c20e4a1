//! `sgl-router load`: a load generator for operators.
//!
//! Exit codes: 0 done, 1 the run could not be made or its report not written, 2 wrong usage,
//! 3 more requests failed than `--max-error-rate` allows or, without it, all requests of a target.

mod args;
mod error;
mod plan;
mod swapper;
mod progress_writer;
mod output;
mod run;

pub use crate::cli::load::args::LoadArgs;
pub use crate::cli::load::error::LoadError;
pub use crate::cli::load::run::run;
