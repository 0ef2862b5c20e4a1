//! `sgl-router plugin`: plugins of a running router, over its operators' listener; and, without a
//! router, their signatures.
//!
//! Exit codes: 0 done, 1 failed or refused, 2 wrong usage, 3 the router cannot be reached,
//! 4 no such plugin.

pub mod command_error;
pub mod args;
pub mod client;
pub mod output;
pub mod table;
pub mod show;
pub mod signing;
pub mod verify;
pub mod push;
pub mod watch;
pub mod explain;
pub mod run;

pub use crate::cli::plugin::args::PluginArgs;
pub use crate::cli::plugin::run::run;
