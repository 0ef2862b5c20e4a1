//! The flags of `sgl-router load`.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};

use sgl_tools::load::FIRST_TOKEN_ID;

const MOST_SECONDS: f64 = 86_400.0;

/// How the gaps between requests are spread.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum ArrivalProcess {
    /// As those of many independent clients.
    #[default]
    Poisson,
    /// All the same.
    Constant,
}

/// Sends requests to a router, or to several in turn, and reports latencies and throughput
///
/// Closed loop by default: each of --connections asks again as soon as it is answered. With --rate
/// or --trace requests are sent when they are due, and all times count from then. Ctrl-C ends the
/// run early with its report, a second Ctrl-C cuts requests in flight off.
///
/// Exit codes: 0 done, 1 the run could not be made, 2 wrong usage, 3 more requests failed than
/// --max-error-rate allows or, without it, all requests of a target.
#[derive(Args, Clone, Debug)]
pub struct LoadArgs {
    /// The router
    #[arg(long, default_value = "http://127.0.0.1:30000", conflicts_with = "compare")]
    pub url: String,
    /// A router under a name, such as new=http://10.0.0.1:30000; given more than once, the routers
    /// take turns in every round, and the further ones are compared with the first
    #[arg(long, value_name = "NAME=URL")]
    pub compare: Vec<String>,
    /// PEM files of authorities that are trusted for https:// URLs, besides the system's
    #[arg(long, num_args = 1.., value_name = "FILE")]
    pub ca_cert_paths: Vec<PathBuf>,

    /// Closed loop: connections
    #[arg(long, default_value_t = 32, value_parser = count, conflicts_with_all = ["rate", "trace"])]
    pub connections: usize,
    /// Open loop: requests per second
    #[arg(long, value_name = "PER_SECOND", value_parser = rate, conflicts_with = "trace")]
    pub rate: Option<f64>,
    /// How the gaps between requests are spread
    #[arg(long, value_enum, default_value_t, requires = "rate")]
    pub arrivals: ArrivalProcess,
    /// Open loop: times and lengths from a file of JSON lines with timestamp (ms), input_length,
    /// output_length and maybe hash_ids, the CSV of Azure's public traces, or decision records of a router
    #[arg(long, value_name = "FILE")]
    pub trace: Option<PathBuf>,
    /// 2 replays the trace twice as fast
    #[arg(long, value_name = "FACTOR", default_value_t = 1.0, value_parser = rate, requires = "trace")]
    pub trace_speed: f64,
    /// Tokens of a prompt that each of the trace's hash_ids stands for [default: 512; of decision records as
    /// many as a block of theirs has]
    #[arg(long, value_name = "TOKENS", requires = "trace")]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=4_000_000))]
    pub trace_block_tokens: Option<u32>,
    /// Open loop: requests in flight at a time; others wait, and their wait counts
    #[arg(long, default_value_t = 4096, value_parser = count)]
    pub max_in_flight: usize,

    /// Time of a round of one router, such as 500ms, 30s, 5m [default: 10s if neither --requests
    /// nor --trace ends a round]
    #[arg(long, value_parser = duration)]
    pub duration: Option<Duration>,
    /// Requests of a round of one router
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
    pub requests: Option<u64>,
    /// Time before each round whose requests do not count
    #[arg(long, default_value = "0s", value_parser = duration)]
    pub warmup: Duration,
    /// Rounds [default: 1, with --compare 3]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub rounds: Option<u32>,
    /// Time for one request
    #[arg(long, default_value = "60s", value_parser = duration)]
    pub timeout: Duration,
    /// Time for requests that are in flight or waiting when a round is over
    #[arg(long, default_value = "30s", value_parser = duration)]
    pub drain: Duration,
    /// Seed of the arrivals
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
    /// Threads [default: one per core]
    #[arg(long, value_parser = count)]
    pub threads: Option<usize>,

    /// Model that requests name [default: none]
    #[arg(long)]
    pub model: Option<String>,
    /// Length of prompts, at four bytes per token of text
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(..=4_000_000))]
    pub prompt_tokens: u32,
    /// Prompts as token ids from 100 up to below this, to /v1/completions, so that every engine counts as
    /// many tokens; the vocabulary of its model must have them
    #[arg(long, value_name = "BELOW")]
    #[arg(value_parser = clap::value_parser!(u32).range(i64::from(FIRST_TOKEN_ID) + 100..=1_000_000_000))]
    pub token_ids: Option<u32>,
    /// max_tokens of requests
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=4_000_000))]
    pub output_tokens: u32,
    /// Different prompts, which take turns
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub prompts: u32,
    /// Asks for streams
    #[arg(long)]
    pub stream: bool,
    /// Further fields of every request, such as '{"ignore_eos": true}'
    #[arg(long, value_name = "JSON")]
    pub body_fields: Option<String>,
    /// A header of every request, such as 'authorization: Bearer KEY'; may be given more than once
    #[arg(long, value_name = "NAME: VALUE")]
    pub header: Vec<String>,
    /// File of further headers, one in a line: what stands there is not in the list of processes
    #[arg(long, value_name = "FILE")]
    pub header_file: Option<PathBuf>,

    /// Plugin that is swapped while requests flow
    #[arg(long, value_name = "NAME", requires = "swap_module")]
    pub swap_plugin: Option<String>,
    /// A module that it is replaced by; given more than once, they take turns
    #[arg(long, value_name = "FILE", requires = "swap_plugin")]
    pub swap_module: Vec<PathBuf>,
    /// Time from one swap to the next
    #[arg(long, default_value = "1s", value_parser = duration, requires = "swap_plugin")]
    pub swap_every: Duration,
    /// The router of --compare in whose rounds there are swaps [default: all]
    #[arg(long, value_name = "NAME", requires_all = ["swap_plugin", "compare"])]
    pub swap_target: Option<String>,
    /// Where swaps are made: the operators' listener
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:29001")]
    pub admin_url: String,
    /// Variable that holds the operators' bearer token
    #[arg(long, value_name = "VARIABLE", default_value = "SGL_ROUTER_ADMIN_TOKEN")]
    pub admin_token_env: String,

    /// Writes the report as JSON into a file, or without one to standard output
    #[arg(long, value_name = "FILE", num_args = 0..=1, default_missing_value = "-")]
    pub json: Option<PathBuf>,
    /// Writes the report as one self-contained page
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,
    /// Shows progress also if standard error is no terminal
    #[arg(long)]
    pub progress: bool,
    /// Exit code 3 if a larger share of the requests of a router fails, 0 to 1
    #[arg(long, value_name = "SHARE", value_parser = share)]
    pub max_error_rate: Option<f64>,
}

fn duration(text: &str) -> Result<Duration, String> {
    let fault = || format!("found {text:?}; allowed: such as 500ms, 30s, 5m, up to 24h");
    let unit = text.find(|c: char| c.is_ascii_alphabetic()).ok_or_else(fault)?;
    let (number, unit) = text.split_at(unit);
    let seconds = match unit {
        "ms" => 0.001,
        "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        _ => return Err(fault()),
    };
    let seconds = number.parse::<f64>().map_err(|_| fault())? * seconds;
    if !(0.0..=MOST_SECONDS).contains(&seconds) {
        return Err(fault());
    }
    Duration::try_from_secs_f64(seconds).map_err(|_| fault())
}

fn count(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(count) if (1..=100_000).contains(&count) => Ok(count),
        _ => Err("allowed: 1 to 100000".to_owned()),
    }
}

fn rate(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(rate) if rate > 0.0 && rate <= 1e6 => Ok(rate),
        _ => Err("allowed: above 0, up to 1000000".to_owned()),
    }
}

fn share(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(share) if (0.0..=1.0).contains(&share) => Ok(share),
        _ => Err("allowed: 0 to 1".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_a_unit_and_a_limit() {
        for (text, ms) in [("500ms", 500), ("1.5s", 1500), ("2m", 120_000), ("24h", 86_400_000), ("0s", 0)] {
            assert_eq!(duration(text), Ok(Duration::from_millis(ms)), "{text}");
        }
        for text in ["5", "s", "5d", "-1s", "25h", "1e9s", "NaNs", ""] {
            assert!(duration(text).is_err(), "{text}");
        }
    }
}
