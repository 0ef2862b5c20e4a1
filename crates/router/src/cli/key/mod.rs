//! `sgl-router key`: keys of clients, made and hashed.

mod args;
mod run;

pub use crate::cli::key::args::KeyArgs;
pub use crate::cli::key::run::run;
