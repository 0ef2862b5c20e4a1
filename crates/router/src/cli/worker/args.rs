//! The flags of `sgl-router worker`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use crate::cli::admin_args::AdminArgs;

/// Workers of a running router: list, add, change, drain, remove
///
/// Exit codes: 0 done, 1 failed or refused, 2 wrong usage, 3 the router cannot be reached,
/// 4 no such worker. The token of the operators' listener comes from --admin-token-file or the
/// variable SGL_ROUTER_ADMIN_TOKEN.
#[derive(Clone, Debug, Args)]
pub struct WorkerArgs {
    /// Which router
    #[command(flatten)]
    pub admin: AdminArgs,
    /// Prints JSON for scripts
    #[arg(long, global = true)]
    pub json: bool,
    /// What to do
    #[command(subcommand)]
    pub command: WorkerCommand,
}

/// What to do.
#[derive(Clone, Debug, Subcommand)]
pub enum WorkerCommand {
    /// Lists the workers: where they come from, and whether they get requests
    List,
    /// Lists the sources of workers: when each was last answered, and what became of its workers
    Sources,
    /// Adds a worker; it gets requests from the first health check that passes
    Add(NewWorker),
    /// Changes a worker while it serves; null is the default of a key
    Set(ChangedWorker),
    /// Ends new requests to a worker until `undrain` or a restart of the router; those in flight go on
    Drain(DrainArgs),
    /// Lets a drained worker have requests again
    Undrain(OneWorker),
    /// Drains a worker, then removes it
    Rm(OneWorker),
}

/// The worker that is added.
#[derive(Clone, Debug, Args)]
pub struct NewWorker {
    /// Where it is, such as http://10.0.0.7:30000
    pub url: String,
    /// Keys as in [[workers]] of the configuration, such as role=prefill, weight=2 or labels.zone=a
    #[arg(value_name = "KEY=VALUE")]
    pub settings: Vec<String>,
    /// File that holds the key that it asks for
    #[arg(long, value_name = "FILE")]
    pub api_key_file: Option<PathBuf>,
    /// Seconds to wait until it has passed a health check [default without a number: 600]
    #[arg(long, value_name = "SECS", num_args = 0..=1, default_missing_value = "600")]
    pub wait: Option<u64>,
}

/// The worker that is changed.
#[derive(Clone, Debug, Args)]
pub struct ChangedWorker {
    /// Its URL, or its id
    pub worker: String,
    /// Keys as in [[workers]] of the configuration, such as weight=2, labels.zone=a or model=null
    #[arg(value_name = "KEY=VALUE", required_unless_present = "api_key_file")]
    pub settings: Vec<String>,
    /// File that holds the key that it asks for
    #[arg(long, value_name = "FILE")]
    pub api_key_file: Option<PathBuf>,
}

/// The worker that is drained.
#[derive(Clone, Debug, Args)]
pub struct DrainArgs {
    /// Which one
    #[command(flatten)]
    pub one: OneWorker,
    /// Drains it though it is the last one that is well: every request is answered with 503 then
    #[arg(long)]
    pub force: bool,
}

/// One worker.
#[derive(Clone, Debug, Args)]
pub struct OneWorker {
    /// Its URL, or its id
    pub worker: String,
    /// Seconds to wait until it has no request in flight, or is gone [default without a number: 3600]
    #[arg(long, value_name = "SECS", num_args = 0..=1, default_missing_value = "3600")]
    pub wait: Option<u64>,
}
