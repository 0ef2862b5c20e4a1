//! The flags of `sgl-router simulate`.

use std::path::PathBuf;

use clap::Args;

use crate::cli::registry_reading::RegistryFlags;
use crate::cli::simulate::generate_args::GenerateArgs;
use crate::cli::simulate::trait_args::TraitArgs;
use sglang_router_rs::config::PluginOptions;

/// Lets policies decide over a simulated fleet, and compares what comes of it
///
/// The engines and the clock are modelled; policies, plugins included, are asked as by a router that
/// serves. An hour of a trace takes less than a second, and the same command gives the same figures.
///
/// Exit codes: 0 done, 1 a report cannot be written or a module not read from its registry, 2 wrong usage.
#[derive(Args, Clone, Debug)]
pub struct SimulateArgs {
    /// A built-in or embedded policy, a model of another router's, a module, one of a registry, or one under
    /// another name: least_load, toll, smg:cache_aware, my.wasm, oci://HOST/REPOSITORY:TAG, other=my.wasm,
    /// k4=embedded:toll; may be given more than once
    #[arg(long, required = true, value_name = "POLICY")]
    pub policy: Vec<String>,
    /// A setting of a plugin, such as toll:kappa=4: JSON, or else text; may be given more than once
    #[arg(long, value_name = "POLICY:KEY=VALUE")]
    pub policy_config: Vec<String>,
    /// How registries are spoken to
    #[command(flatten)]
    pub registry: RegistryFlags,
    /// PEM file of an authority that is trusted for registries, besides the system's; may be given more than once
    #[arg(long, value_name = "FILE")]
    pub ca_cert_paths: Vec<PathBuf>,
    /// System calls that the modules may make
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    pub allow_syscalls: Vec<String>,

    /// Memory that each module may have, in MiB, as `max_memory_bytes` of `serve` [default: 16]
    #[arg(long, value_name = "MIB", value_parser = clap::value_parser!(u32).range(1..=100))]
    pub plugin_memory_mib: Option<u32>,

    /// Requests from a file of JSON lines with timestamp (ms), input_length, output_length and maybe
    /// hash_ids, the CSV of Azure's public traces, or the decision records of a router
    #[arg(long, value_name = "FILE")]
    pub trace: Option<PathBuf>,
    /// Requests that go on with a session come only when the answer before is there, after a time to think:
    /// that of the trace, or what its stamps say
    #[arg(long, requires = "trace")]
    pub think_times: bool,
    /// All requests so many times, one after the other; prompts and sessions of a repetition are unlike those of the
    /// others
    #[arg(long, value_name = "TIMES", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub repeat: u32,
    /// Requests that are made up
    #[command(flatten)]
    pub generated: GenerateArgs,
    /// What requests and workers have besides
    #[command(flatten)]
    pub traits: TraitArgs,
    /// Only the first requests of the trace; how many are made up
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..))]
    pub requests: Option<u32>,
    /// Leaves requests with longer prompts out; sessions that are made up end before them
    #[arg(long, value_name = "TOKENS", value_parser = clap::value_parser!(u32).range(1..))]
    pub max_prompt_tokens: Option<u32>,
    /// 1.4 has the requests of 1.4 hours come in one; several are simulated one by one
    #[arg(long, value_name = "FACTOR", value_delimiter = ',', default_value = "1", value_parser = load, allow_negative_numbers = true)]
    pub load: Vec<f64>,
    /// Seconds over which requests with the same stamp are spread [default: the step of the stamps]
    #[arg(long, value_parser = seconds, allow_negative_numbers = true)]
    pub spread: Option<f64>,

    /// Workers [default: 8, or those of the model's pairs]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub workers: Option<u32>,
    /// Numbers of the engines' model, as TOML [default: see docs/simulate.md]
    #[arg(long, value_name = "FILE")]
    pub model: Option<PathBuf>,
    /// How fast the first workers are: 0.5 takes twice as long; the others have 1
    #[arg(long, value_name = "FACTOR", value_delimiter = ',', value_parser = speed, allow_negative_numbers = true)]
    pub speeds: Vec<f64>,
    /// What befalls workers, as TOML: slow ones, dead ones, failing ones, those that come and go [default:
    /// nothing; see docs/simulate.md]
    #[arg(long, value_name = "FILE")]
    pub worker_events: Option<PathBuf>,
    /// Milliseconds between two reports of a worker's load
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(10..=3_600_000))]
    pub load_interval_ms: u32,

    /// Tokens of a block of the router's prefix hashes, as `prefix_block_tokens` of `serve`
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=65_536))]
    pub prefix_block_tokens: u32,
    /// Blocks of a prompt that are hashed at most, as `prefix_max_blocks` of `serve`
    #[arg(long, default_value_t = 4096, value_parser = clap::value_parser!(u32).range(1..=65_536))]
    pub prefix_max_blocks: u32,
    /// After how many waits in a row no other request that waits is asked, as `reasks` of a plugin's options
    #[arg(long, default_value_t = PluginOptions::DEFAULT_REASKS, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub reasks: u32,
    /// Requests that a policy may have wait, as of `serve`
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(..=10_000_000))]
    pub queue_size: u32,
    /// Seconds that one may wait, as of `serve`
    #[arg(long, value_name = "SECONDS", default_value_t = 60.0, value_parser = seconds, allow_negative_numbers = true)]
    pub queue_timeout_secs: f64,

    /// How many seeds: each is a run of its own for each policy and load
    #[arg(long, value_name = "COUNT", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub seeds: u32,
    /// The first seed
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
    /// Runs at a time [default: one per core]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub threads: Option<u32>,

    /// Objective: seconds until the first token
    #[arg(long, value_name = "SECONDS", default_value_t = 2.0, value_parser = seconds, allow_negative_numbers = true)]
    pub slo_ttft: f64,
    /// And so many milliseconds more for each prompt token
    #[arg(long, value_name = "MS", default_value_t = 0.25, value_parser = seconds, allow_negative_numbers = true)]
    pub slo_ttft_per_token: f64,
    /// Objective: seconds for each further token, on average of a request
    #[arg(long, value_name = "SECONDS", default_value_t = 0.2, value_parser = seconds, allow_negative_numbers = true)]
    pub slo_tpot: f64,

    /// Looks for the highest load at which enough requests meet the objective, of each policy, from the
    /// first --load on
    #[arg(long)]
    pub capacity: bool,
    /// With --capacity: how many are enough, 0 to 1
    #[arg(long, value_name = "SHARE", default_value_t = 0.9, value_parser = share, requires = "capacity")]
    pub capacity_share: f64,

    /// Shows progress also if standard error is no terminal
    #[arg(long)]
    pub progress: bool,
    /// Writes the report as JSON into a file, or without one to standard output
    #[arg(long, value_name = "FILE", num_args = 0..=1, default_missing_value = "-")]
    pub json: Option<PathBuf>,
    /// Writes the report as one self-contained page
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,
}

/// A run at a lower load would not come to its end.
fn load(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(load) if (0.001..=1e6).contains(&load) => Ok(load),
        _ => Err("allowed: 0.001 to 1000000".to_owned()),
    }
}

fn speed(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(speed) if (0.001..=1000.0).contains(&speed) => Ok(speed),
        _ => Err("allowed: 0.001 to 1000".to_owned()),
    }
}

fn share(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(share) if share > 0.0 && share <= 1.0 => Ok(share),
        _ => Err("allowed: above 0, up to 1".to_owned()),
    }
}

fn seconds(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(seconds) if (0.0..=1e6).contains(&seconds) => Ok(seconds),
        _ => Err("allowed: 0 to 1000000".to_owned()),
    }
}
