//! The flags of `sgl-router plugin`.

use std::path::PathBuf;

use clap::{ArgGroup, Args, Subcommand};

use crate::cli::admin_args::AdminArgs;
use crate::cli::plugin::manifest_args::ManifestArgs;
#[cfg(feature = "tools")]
use crate::cli::plugin::replay_args::ReplayArgs;
use crate::cli::plugin::trial_args::{DecisionArgs, TestingArgs, TrialFlags};
use crate::cli::registry_reading::RegistryFlags;

/// Plugins of a running router: list, load, replace, roll back
///
/// Exit codes: 0 done, 1 failed or refused, 2 wrong usage, 3 the router cannot be reached,
/// 4 no such plugin. The token of the operators' listener comes from --admin-token-file or the
/// variable SGL_ROUTER_ADMIN_TOKEN.
#[derive(Clone, Debug, Args)]
pub struct PluginArgs {
    /// Which router
    #[command(flatten)]
    pub admin: AdminArgs,
    /// Prints JSON for scripts
    #[arg(long, global = true)]
    pub json: bool,
    /// Changes a plugin of a fleet at this router alone, until the fleet's next generation
    #[arg(long, global = true)]
    pub local: bool,
    /// What to do
    #[command(subcommand)]
    pub command: PluginCommand,
}

/// What to do.
#[derive(Clone, Debug, Subcommand)]
pub enum PluginCommand {
    /// Lists the plugins
    List(ListArgs),
    /// Shows everything that is known of a plugin
    Show(Name),
    /// Loads a module, or replaces the plugin of that name
    Push(Box<PushArgs>),
    /// Drops the canary or the shadow, or goes back to the previous generation
    Rollback(Name),
    /// Makes the canary or the shadow the generation that decides
    Promote(Name),
    /// Takes a plugin out of the path; its failure policy decides meanwhile
    Pause(Name),
    /// Puts a paused plugin back into the path
    Resume(Name),
    /// Unloads a plugin
    Rm {
        /// Name of the plugin
        name: String,
        /// Even if the router places requests with it
        #[arg(long)]
        force: bool,
    },
    /// Shows what was known, chosen and came of a recorded request; without an id, the newest ones
    Explain(ExplainArgs),
    /// Lists the requests that wait in the router, for whatever they wait
    Queue(QueueArgs),
    /// Makes a pair of keys: NAME.key signs modules, NAME.pub checks signatures
    Keygen(KeygenArgs),
    /// Signs a module, in a file beside it (MODULE.sig) or inside
    Sign(SignArgs),
    /// Checks who signed a module, as a router would
    Verify(VerifyArgs),
    /// Checks modules as a router that loads them would, and has them decide; asks no router
    Check(Box<CheckArgs>),
    /// Has a module decide a request over workers that you describe; asks no router
    Run(Box<DecisionArgs>),
    /// Has a module pass cases without a router; each that fails says what is to be done
    Test(Box<TestingArgs>),
    /// Shows what a module says of itself (its name, inputs, concurrency), or writes that into one; asks no router
    Manifest(Box<ManifestArgs>),
    /// Writes a module at an OCI registry, with its detached signature if it has one; asks no router
    Publish(PublishArgs),
    /// Reads a module from an OCI registry, with its detached signatures if it has any; asks no router
    Pull(PullArgs),
    /// Makes the decisions of a running router's records again with other policies, and shows where they
    /// differ
    #[cfg(feature = "tools")]
    Replay(Box<ReplayArgs>),
    /// Follows a plugin until interrupted, or until its rollout is over
    Watch(WatchArgs),
}

/// What to list of plugins.
#[derive(Clone, Copy, Debug, Args)]
pub struct ListArgs {
    /// The modules that this program brings along instead, with their digests; asks no router
    #[arg(long)]
    pub embedded: bool,
}

/// A plugin.
#[derive(Clone, Debug, Args)]
pub struct Name {
    /// Name of the plugin
    pub name: String,
}

/// What to load and how.
#[derive(Clone, Debug, Args)]
pub struct PushArgs {
    /// The module; embedded:NAME: one that the router brings along; or oci://HOST/REPOSITORY:TAG: one that the
    /// router reads from a registry
    pub file: PathBuf,
    /// Name of the plugin [default: the file's stem, NAME, or the last part of the repository]
    #[arg(long)]
    pub name: Option<String>,
    /// First gives it a share of the decisions, in percent; promotes it or rolls it back by itself
    #[arg(long, value_name = "PERCENT", conflicts_with = "shadow")]
    pub canary: Option<f64>,
    /// With --canary: seconds before it can be promoted [default: 30]
    #[arg(long, value_name = "SECONDS")]
    pub canary_secs: Option<u64>,
    /// With --canary: decisions that it must make before it can be promoted [default: 1000]
    #[arg(long, value_name = "NUMBER")]
    pub canary_decisions: Option<u64>,
    /// Only shows it a copy of every n-th decision
    #[arg(long, value_name = "EVERY")]
    pub shadow: Option<u32>,
    /// Budget of one call in milliseconds
    #[arg(long, value_name = "MS")]
    pub time_ms: Option<u64>,
    /// Memory of one instance in bytes
    #[arg(long, value_name = "BYTES")]
    pub memory: Option<u64>,
    /// A WASI function that it may import; may be given more than once
    #[arg(long, value_name = "FUNCTION")]
    pub allow_syscall: Vec<String>,
    /// A value of the plugin's own configuration, as JSON or else as text; may be given more than
    /// once
    #[arg(long, value_name = "KEY=VALUE")]
    pub config: Vec<String>,
    /// SHA-256 that the module must have
    #[arg(long, value_name = "SHA256")]
    pub digest: Option<String>,
    /// A detached signature of the module [default: the module's file with .sig, if it is there]
    #[arg(long, value_name = "FILE")]
    pub signature: Option<PathBuf>,
    /// Any other option as JSON, such as '{"min_warm": 4}'
    #[arg(long, value_name = "JSON")]
    pub options: Option<String>,
}

/// What to explain.
#[derive(Clone, Debug, Args)]
pub struct ExplainArgs {
    /// Id of the request: the client's x-request-id, or x-sgl-request-id of its answer
    #[arg(value_parser = request_id)]
    pub request_id: Option<String>,
    /// A file of records to look into instead of asking the router
    #[arg(long, value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// How many of the newest are listed
    #[arg(long, default_value_t = 20, conflicts_with = "request_id")]
    pub limit: usize,
}

/// What to list.
#[derive(Clone, Copy, Debug, Args)]
pub struct QueueArgs {
    /// How many are listed, those who have waited longest first
    #[arg(long, default_value_t = 100)]
    pub limit: usize,
}

/// What to follow.
#[derive(Clone, Debug, Args)]
pub struct WatchArgs {
    /// Name of the plugin
    pub name: String,
    /// Ends when the rollout is over: exit code 0 if the new generation stays, 1 if it was rolled
    /// back
    #[arg(long)]
    pub until_settled: bool,
    /// The generation whose rollout is meant [default: the newest]
    #[arg(long, requires = "until_settled")]
    pub generation: Option<u64>,
    /// Milliseconds between looks
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u64).range(10..=60_000))]
    pub interval_ms: u64,
}

/// Which keys to make.
#[derive(Clone, Debug, Args)]
pub struct KeygenArgs {
    /// Path of both files, without .key and .pub; neither may exist
    pub name: PathBuf,
    /// What the key is for; shown wherever it is named
    #[arg(long, default_value = "")]
    pub comment: String,
}

/// What to sign.
#[derive(Clone, Debug, Args)]
pub struct SignArgs {
    /// The module
    pub file: PathBuf,
    /// The private key (PEM, PKCS#8)
    #[arg(long, value_name = "FILE")]
    pub key: PathBuf,
    /// Puts the signature into the module, whose digest changes with it
    #[arg(long)]
    pub embed: bool,
    /// Where to write instead of MODULE.sig, or with --embed instead of the module itself
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
}

/// Which modules to check.
#[derive(Clone, Debug, Args)]
pub struct CheckArgs {
    /// The modules: files, embedded:NAME or oci://HOST/REPOSITORY:TAG
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// How they are loaded
    #[command(flatten)]
    pub trial: TrialFlags,
}

/// What to publish, and where.
#[derive(Clone, Debug, Args)]
pub struct PublishArgs {
    /// The module
    pub file: PathBuf,
    /// Where: oci://HOST/REPOSITORY:TAG
    pub reference: String,
    /// A detached signature of the module [default: the module's file with .sig, if it is there]
    #[arg(long, value_name = "FILE")]
    pub signature: Option<PathBuf>,
    /// A WASI function that it may import; may be given more than once
    #[arg(long, value_name = "FUNCTION")]
    pub allow_syscall: Vec<String>,
    /// How registries are spoken to
    #[command(flatten)]
    pub registry: RegistryFlags,
}

/// What to pull, and where to.
#[derive(Clone, Debug, Args)]
pub struct PullArgs {
    /// What: oci://HOST/REPOSITORY:TAG, with @sha256:DIGEST behind it or instead of the tag
    pub reference: String,
    /// Where to write it; its signatures go into the same name with .sig [default: the last part of the
    /// repository with .wasm]
    #[arg(long, value_name = "FILE", conflicts_with = "cache")]
    pub out: Option<PathBuf>,
    /// The --registry-cache of a router to put it into instead; the tag stands for it there from then on
    #[arg(long, value_name = "DIR")]
    pub cache: Option<PathBuf>,
    /// How registries are spoken to
    #[command(flatten)]
    pub registry: RegistryFlags,
}

/// What to check.
#[derive(Clone, Debug, Args)]
#[command(group(ArgGroup::new("rule").args(["key", "config"]).required(true)))]
pub struct VerifyArgs {
    /// The module, in a file or as oci://HOST/REPOSITORY:TAG
    pub file: PathBuf,
    /// A public key (PEM), or a directory whose .pub files are keys; may be given more than once
    #[arg(long, value_name = "FILE")]
    pub key: Vec<String>,
    /// Every key must have signed it, not any
    #[arg(long, requires = "key")]
    pub all: bool,
    /// A router's configuration file: its rules for this file count
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// A detached signature of the module [default: the module's file with .sig, if it is there]
    #[arg(long, value_name = "FILE")]
    pub signature: Option<PathBuf>,
    /// How registries are spoken to
    #[command(flatten)]
    pub registry: RegistryFlags,
}

/// The record of nobody is asked for by mistake: a variable that is not set.
fn request_id(text: &str) -> Result<String, String> {
    let fault = || "it is empty; allowed: the id of a request, or none, which lists the newest".to_owned();
    (!text.is_empty()).then(|| text.to_owned()).ok_or_else(fault)
}
