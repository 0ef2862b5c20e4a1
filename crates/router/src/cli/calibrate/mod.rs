//! `sgl-router calibrate`: measures an engine, and writes the model of it that `simulate` reads.
//!
//! Exit codes: 0 done, 1 it could not be measured or the file not written, 2 wrong usage, 3 somebody else
//! uses the engine.

mod args;
mod error;
mod fresh_prompts;
mod bench;
mod probes;
mod run;

pub use crate::cli::calibrate::args::CalibrateArgs;
pub use crate::cli::calibrate::error::CalibrateError;
pub use crate::cli::calibrate::run::run;
