//! `sgl-router plugin`: plugins of a running router, over its operators' listener; and, without a
//! router, their signatures and what a router would say of their modules.
//!
//! Exit codes: 0 done, 1 failed or refused, 2 wrong usage, 3 the router cannot be reached,
//! 4 no such plugin.

pub(crate) mod command_error;
mod registry;
#[cfg(feature = "tools")]
mod replay_args;
mod trial_args;
mod manifest_args;
mod args;
pub(crate) mod client;
pub(crate) mod output;
pub(crate) mod table;
mod show;
mod embedded;
pub(crate) mod signing;
mod verify;
mod publish;
mod manifest;
mod pull;
pub(crate) mod push;
mod watch;
mod tried_module;
mod check;
mod conformance;
mod testing;
mod decision_views;
mod decision_text;
mod decide_once;
mod candidate_columns;
mod explained_lines;
mod explain;
mod queue;
#[cfg(feature = "tools")]
mod replay_text;
#[cfg(feature = "tools")]
mod replay;
mod run;

pub use crate::cli::plugin::args::PluginArgs;
pub use crate::cli::plugin::command_error::CommandError;
pub use crate::cli::plugin::run::run;
