//! `sgl-router fleet`: what a fleet of routers is to serve, by way of NATS; no router is asked.
//!
//! Exit codes: 0 done, 1 failed or refused, 2 wrong usage, 3 NATS cannot be reached, 4 no such plugin in the
//! fleet.

mod args;
mod push;
mod status;
mod run;

pub use crate::cli::fleet::args::FleetArgs;
pub use crate::cli::fleet::run::run;
