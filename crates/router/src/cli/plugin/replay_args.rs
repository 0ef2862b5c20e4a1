//! The flags of `sgl-router plugin replay`.

use std::path::PathBuf;

use clap::Args;

use crate::cli::registry_reading::RegistryFlags;

/// Which records to replay, and with what.
///
/// Exit codes: 0 each policy agrees often enough, 1 one does not or is not in its registry, 2 wrong usage,
/// 3 a registry is not reached.
#[derive(Clone, Debug, Args)]
pub struct ReplayArgs {
    /// Records of a router, a JSON object a line, as --record-file writes them; - is standard input
    pub records: PathBuf,
    /// The policies: a module, one of a registry, a built-in or embedded policy, or one under another name:
    /// my.wasm, oci://HOST/REPOSITORY:TAG, least_load, toll, k4=embedded:toll
    #[arg(required = true, value_name = "POLICY")]
    pub policies: Vec<String>,
    /// Compares them with this policy instead of with what was recorded
    #[arg(long, value_name = "POLICY")]
    pub against: Option<String>,
    /// Share of the decisions that have to be alike, 0 to 1; below it the exit code is 1
    #[arg(long, value_name = "SHARE", default_value_t = 0.0, value_parser = share)]
    pub min_agreement: f64,
    /// A setting of a plugin, such as toll:kappa=4: JSON, or else text; may be given more than once
    #[arg(long, value_name = "POLICY:KEY=VALUE")]
    pub policy_config: Vec<String>,
    /// System calls that the modules may make
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    pub allow_syscalls: Vec<String>,
    /// Numbers of the engines by which times to the first token are estimated, as TOML
    /// [default: see docs/simulate.md]
    #[arg(long, value_name = "FILE")]
    pub model: Option<PathBuf>,
    /// How many decisions of each kind of difference are shown
    #[arg(long, value_name = "COUNT", default_value_t = 2, value_parser = clap::value_parser!(u32).range(..=1000))]
    pub examples: u32,
    /// What chance decides is decided alike with the same seed
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
    /// How registries are spoken to
    #[command(flatten)]
    pub registry: RegistryFlags,
}

fn share(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(share) if (0.0..=1.0).contains(&share) => Ok(share),
        _ => Err("allowed: 0 to 1".to_owned()),
    }
}
