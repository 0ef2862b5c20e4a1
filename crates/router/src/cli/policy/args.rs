//! The flags of `sgl-router policy`.

use clap::{Args, Subcommand};

use crate::cli::admin_args::AdminArgs;

/// The policy of a running router: which one places requests, and another one
///
/// Exit codes: 0 done, 1 failed or refused, 2 wrong usage, 3 the router cannot be reached, 4 no such policy.
/// The token of the operators' listener comes from --admin-token-file or the variable SGL_ROUTER_ADMIN_TOKEN.
#[derive(Clone, Debug, Args)]
pub struct PolicyArgs {
    /// Which router
    #[command(flatten)]
    pub admin: AdminArgs,
    /// Prints JSON for scripts
    #[arg(long, global = true)]
    pub json: bool,
    /// What to do
    #[command(subcommand)]
    pub command: PolicyCommand,
}

/// What to do.
#[derive(Clone, Debug, Subcommand)]
pub enum PolicyCommand {
    /// Lists the policies that can be used: built-in ones, plugins, and modules that the router brings along
    List,
    /// Shows the policy that places requests, and how one on trial stands to its bounds
    Show,
    /// Has another policy place requests from now on; those in flight stay as they are
    Use(UseArgs),
    /// Has the policy on trial place all requests
    Promote,
    /// Ends the trial or, if there is none, goes back to the policy before
    Rollback,
}

/// Which policy, and how.
#[derive(Clone, Debug, Args)]
pub struct UseArgs {
    /// Name of a built-in policy, a plugin, or a module that the router brings along
    pub name: String,
    /// First gives it a share of the decisions, in percent; promotes it or rolls it back by itself
    #[arg(long, value_name = "PERCENT")]
    pub canary: Option<f64>,
    /// With --canary: seconds before it can be promoted [default: 30]
    #[arg(long, value_name = "SECONDS", requires = "canary")]
    pub canary_secs: Option<u64>,
    /// With --canary: decisions that it must make before it can be promoted [default: 1000]
    #[arg(long, value_name = "NUMBER", requires = "canary")]
    pub canary_decisions: Option<u64>,
}
