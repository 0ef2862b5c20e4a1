//! The configuration of `serve`: the file, the flags, the environment.

use crate::cli::flag_keys::FlagKeys;
use crate::cli::flags::ServeArgs;
use crate::config::check::{Surroundings, check_all};
use crate::config::checked::CheckedConfig;
use crate::config::files::read_config;
use crate::config::router::RouterConfig;
use sglang_router_rs::config::{Fault, Faults};
use sglang_router_rs::policies::NativePolicy;

const ADMIN_TOKEN_VARIABLE: &str = "SGL_ROUTER_ADMIN_TOKEN";

const WORKER_KEY_VARIABLE: &str = "SGL_ROUTER_WORKER_API_KEY";

/// Variables that are read for what no flag says.
pub(crate) const VARIABLES: [&str; 2] = [ADMIN_TOKEN_VARIABLE, WORKER_KEY_VARIABLE];

/// The checked configuration: the file, with the flags laid over it.
///
/// # Errors
///
/// [`Faults`], all of them.
pub fn configuration(args: &ServeArgs) -> Result<CheckedConfig, Faults> {
    let (checked, faults) = look_at(args);
    if faults.is_empty() { Ok(checked) } else { Err(Faults(faults)) }
}

/// The same with its faults. If there are any, the configuration is good only to look for more of them.
pub(crate) fn look_at(args: &ServeArgs) -> (CheckedConfig, Vec<Fault>) {
    let (mut config, mut faults) = match &args.config {
        Some(path) => read_config(path),
        None => (RouterConfig::default(), Vec::new()),
    };
    args.lay_over(&mut config, &mut faults);
    let policy_settings = args.policy_settings(&config.policy, &mut faults);
    let admin_token = std::env::var(ADMIN_TOKEN_VARIABLE).ok();
    let worker_api_key = std::env::var(WORKER_KEY_VARIABLE).ok();
    let flags = FlagKeys::of(args, &config);
    let surroundings = Surroundings {
        built_in_policies: &NativePolicy::NAMES,
        embedded_policies: &sgl_shipped::names(),
        policy_settings,
        admin_token,
        worker_api_key,
        faults,
    };
    let (checked, faults) = check_all(config, surroundings);
    (checked, faults.into_iter().map(|fault| flags.name(fault)).collect())
}
