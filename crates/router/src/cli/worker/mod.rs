//! `sgl-router worker`: the workers of a running router, over its operators' listener.
//!
//! Exit codes: 0 done, 1 failed or refused, 2 wrong usage, 3 the router cannot be reached, 4 no such worker.

mod args;
mod worker_settings;
mod sources_page;
mod run;

pub use crate::cli::worker::args::WorkerArgs;
pub use crate::cli::worker::run::run;
