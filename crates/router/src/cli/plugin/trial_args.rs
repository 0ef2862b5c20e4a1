//! The flags of the commands that have a module decide without a router.

use std::path::PathBuf;

use clap::{ArgGroup, Args};

use crate::cli::registry_reading::RegistryFlags;

/// How a module is loaded to be tried.
#[derive(Clone, Debug, Args)]
pub struct TrialFlags {
    /// A value of the plugin's own configuration, as JSON or else as text; may be given more than
    /// once
    #[arg(long, value_name = "KEY=VALUE")]
    pub config: Vec<String>,
    /// WASI functions that it may import, with commas between them; may be given more than once
    #[arg(long, value_name = "FUNCTION", value_delimiter = ',')]
    pub allow_syscall: Vec<String>,
    /// Memory of one instance in bytes [default: 16777216]
    #[arg(long, value_name = "BYTES")]
    pub memory: Option<usize>,
    /// Any other option as JSON, such as '{"may_refuse": true}'
    #[arg(long, value_name = "JSON")]
    pub options: Option<String>,
    /// How registries are spoken to
    #[command(flatten)]
    pub registry: RegistryFlags,
}

/// What to decide.
///
/// Exit codes: 0 it decided, 1 it failed or would be refused, 2 wrong usage.
#[derive(Clone, Debug, Args)]
pub struct DecisionArgs {
    /// The module: a file, embedded:NAME or oci://HOST/REPOSITORY:TAG
    pub file: PathBuf,
    /// The workers: a file with a list of them, what GET /workers of a router answers, or how many idle ones
    #[arg(long, value_name = "FILE")]
    pub workers: String,
    /// The request, or a list of requests, each of which sees the workers as they are in their file; - is
    /// standard input [default: one of which nothing is known]
    #[arg(long, value_name = "FILE")]
    pub request: Option<PathBuf>,
    /// Shows what the plugin was told, what it answered and what a router made of that
    #[arg(long)]
    pub explain: bool,
    /// What chance decides is decided alike with the same seed
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
    /// How often each request is decided; beyond once, how often each choice was made is shown
    #[arg(long, default_value_t = 1, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..=10_000_000), conflicts_with = "explain")]
    pub times: u32,
    /// How it is loaded
    #[command(flatten)]
    pub trial: TrialFlags,
}

/// What to test.
///
/// Exit codes: 0 all passed, 1 some failed or the module would be refused, 2 wrong usage.
#[derive(Clone, Debug, Args)]
#[command(group(ArgGroup::new("what").args(["cases", "conformance"]).required(true)))]
pub struct TestingArgs {
    /// The module: a file, embedded:NAME or oci://HOST/REPOSITORY:TAG
    pub file: PathBuf,
    /// The cases, as TOML
    pub cases: Option<PathBuf>,
    /// Runs the cases that every plugin has to stand, whatever its policy
    #[arg(long)]
    pub conformance: bool,
    /// Only cases whose name has this text in it
    #[arg(long, value_name = "TEXT", default_value = "")]
    pub filter: String,
    /// What chance decides is decided alike with the same seed [default: that of the file, or 0]
    #[arg(long)]
    pub seed: Option<u64>,
    /// How it is loaded
    #[command(flatten)]
    pub trial: TrialFlags,
}
