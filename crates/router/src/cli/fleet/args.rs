//! The arguments of `fleet`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use crate::cli::fleet_access_flags::FleetAccessFlags;
use crate::cli::registry_reading::RegistryFlags;

/// What a fleet of routers serves: pushed once, taken on in steps by the routers themselves
///
/// Exit codes: 0 done, 1 failed or refused, 2 wrong usage, 3 NATS cannot be reached, 4 the fleet has no such
/// plugin. No router is asked: all of it is in NATS.
#[derive(Debug, Args)]
pub struct FleetArgs {
    /// Where NATS is: nats://HOST:PORT, several servers with commas between them
    #[arg(
        long,
        global = true,
        value_name = "URL",
        env = "SGL_ROUTER_FLEET",
        hide_env_values = true,
        default_value = "nats://127.0.0.1:4222"
    )]
    pub fleet: String,
    /// Name of the fleet
    #[arg(long, global = true, value_name = "NAME", env = "SGL_ROUTER_FLEET_NAME")]
    pub fleet_name: Option<String>,
    /// Who asks.
    #[command(flatten)]
    pub access: FleetAccessFlags,
    /// PEM files of authorities: NATS may have their certificates [default: the system's], and registries, besides
    /// the system's
    #[arg(long, global = true, num_args = 1.., value_name = "FILE")]
    pub ca_cert_paths: Vec<PathBuf>,
    /// Prints JSON for scripts
    #[arg(long, global = true)]
    pub json: bool,
    /// What is to be done.
    #[command(subcommand)]
    pub command: FleetCommand,
}

/// What is to be done.
#[derive(Debug, Subcommand)]
pub enum FleetCommand {
    /// What the fleet is to serve, how far each rollout is, and who is in the fleet
    Status,
    /// Has the fleet serve a module: made ready everywhere first, then served in steps
    Push(Box<FleetPushArgs>),
    /// Has all routers serve again what they served before, at once
    Rollback(FleetChangeArgs),
    /// Takes a plugin out of the fleet: each router goes back to what it had itself under that name, or to nothing,
    /// and to the policy before
    Remove(FleetChangeArgs),
    /// Stops a rollout where it is; a breaker still rolls it back
    Pause(FleetChangeArgs),
    /// Has a rollout that was paused go on
    Resume(FleetChangeArgs),
    /// After the server lost data: says that what is there now is right, or that what a router serves is
    Adopt(AdoptArgs),
}

/// Which rollout.
#[derive(Clone, Debug, Args)]
pub struct FleetChangeArgs {
    /// Name of the plugin
    pub name: String,
    /// The generation that is meant; refused if it is another by now [default: the newest]
    #[arg(long)]
    pub generation: Option<u64>,
    /// Why, for those who look later
    #[arg(long, default_value = "")]
    pub reason: String,
}

/// What is right.
#[derive(Clone, Debug, Args)]
pub struct AdoptArgs {
    /// The router whose last good state is written down for all; without it, what is in NATS counts
    #[arg(long, value_name = "ROUTER")]
    pub from: Option<String>,
}

/// What to serve and how.
#[derive(Clone, Debug, Args)]
pub struct FleetPushArgs {
    /// The module: a file or embedded:NAME, which goes into the fleet's own store, or oci://HOST/REPOSITORY:TAG,
    /// which each router reads by the digest that the tag stands for now
    pub file: PathBuf,
    /// Name of the plugin [default: the file's stem, the embedded module, or the last part of the repository]
    #[arg(long)]
    pub name: Option<String>,
    /// Percent of the routers in each step, the last 100; the first has one router at least
    #[arg(long, value_delimiter = ',', default_value = "10,50,100", value_name = "PERCENT,…")]
    pub steps: Vec<u8>,
    /// Seconds for which a step is watched once all of its routers serve
    #[arg(long, default_value_t = 30.0, value_name = "SECONDS")]
    pub soak_secs: f64,
    /// Decisions that the routers of a step must have made together before the next
    #[arg(long, default_value_t = 0, value_name = "NUMBER")]
    pub min_decisions: u64,
    /// Failed decisions, as a share of all, that they may have more than the routers outside
    #[arg(long, default_value_t = 0.01, value_name = "RATE")]
    pub max_failure_rate_increase: f64,
    /// Times that their decision p99 may exceed that outside
    #[arg(long, default_value_t = 1.5, value_name = "FACTOR")]
    pub max_p99_ratio: f64,
    /// Routers that serve it place their requests with it, whatever their policy was
    #[arg(long)]
    pub place: bool,
    /// Budget of one call in milliseconds
    #[arg(long, value_name = "MS")]
    pub time_ms: Option<u64>,
    /// Memory of one instance in bytes
    #[arg(long, value_name = "BYTES")]
    pub memory: Option<u64>,
    /// A WASI function that it may import; may be given more than once
    #[arg(long, value_name = "FUNCTION")]
    pub allow_syscall: Vec<String>,
    /// A value of the plugin's own configuration, as JSON or else as text; may be given more than once
    #[arg(long, value_name = "KEY=VALUE")]
    pub config: Vec<String>,
    /// Any other option as JSON, such as '{"min_warm": 4}'
    #[arg(long, value_name = "JSON")]
    pub options: Option<String>,
    /// A detached signature of the module [default: the module's file with .sig, if it is there]
    #[arg(long, value_name = "FILE")]
    pub signature: Option<PathBuf>,
    /// Waits until the rollout is over: exit code 0 if it is done, 1 if it was rolled back
    #[arg(long)]
    pub wait: bool,
    /// How registries are spoken to.
    #[command(flatten)]
    pub registry: RegistryFlags,
}
