//! `sgl-router policy`: which policy places the requests of a running router, and another one.

mod args;
mod run;

pub use crate::cli::policy::args::PolicyArgs;
pub use crate::cli::policy::run::run;
