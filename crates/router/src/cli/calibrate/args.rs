//! The flags of `sgl-router calibrate`.

use std::path::PathBuf;

use clap::Args;

/// Measures an engine, and writes the numbers that `simulate --model` reads
///
/// Sends prompts of several lengths, alone and together, and streams, alone and several at a time; asks the
/// engine for what it knows of itself. Nobody else may use it in this time. What cannot be measured keeps
/// its default, and that is said.
///
/// Exit codes: 0 done, 1 it could not be measured or the file not written, 2 wrong usage, 3 somebody else
/// uses the engine.
#[derive(Args, Clone, Debug)]
pub struct CalibrateArgs {
    /// The engine itself, not a router
    #[arg(long)]
    pub url: String,
    /// The model that is asked for [default: the first that the engine lists]
    #[arg(long, value_name = "NAME")]
    pub model: Option<String>,
    /// A header of each request, such as 'authorization: Bearer …'; may be given more than once
    #[arg(long, value_name = "NAME: VALUE")]
    pub header: Vec<String>,
    /// Where the model goes, as TOML [default: standard output]
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// Writes the report, and what was measured, as JSON to standard output
    #[arg(long)]
    pub json: bool,

    /// Seconds after which nothing more is sent
    #[arg(long, value_name = "SECONDS", default_value_t = 120, value_parser = clap::value_parser!(u32).range(1..=86_400))]
    pub max_secs: u32,
    /// Requests at most
    #[arg(long, value_name = "COUNT", default_value_t = 600, value_parser = clap::value_parser!(u32).range(20..=1_000_000))]
    pub max_requests: u32,
    /// The longest prompt, in tokens, if the engine takes such
    #[arg(long, value_name = "TOKENS", default_value_t = 4096, value_parser = clap::value_parser!(u32).range(64..=1_000_000))]
    pub max_prompt_tokens: u32,
    /// Requests at a time at most
    #[arg(long, value_name = "COUNT", default_value_t = 16, value_parser = clap::value_parser!(u32).range(2..=1024))]
    pub max_batch: u32,
    /// How often each is measured
    #[arg(long, value_name = "COUNT", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub rounds: u32,
    /// Goes on though somebody else uses the engine: the numbers are then those of a busy one
    #[arg(long)]
    pub force: bool,
}
