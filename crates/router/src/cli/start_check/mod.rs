//! `sgl-router serve --check`: everything that a start does up to listening, without starting.

mod finding;
mod folders;
mod looks;
mod plugin_looks;
mod source_looks;
mod fleet_look;
mod run;

pub use crate::cli::start_check::run::run;
