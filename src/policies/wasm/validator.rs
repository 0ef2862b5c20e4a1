//! Checks a plugin's configuration. All faults are reported at once.

use std::fmt::Display;

use crate::config::plugin::PluginOptions;
use crate::config::plugin::WasmPolicyConfig;
use crate::config::rollout::Rollout;
use crate::engine::setup::MAX_MEMORY_BYTES;
use crate::policies::native::native_policy::NativePolicy;
use crate::policies::wasm::error::ConfigFault;
use crate::policies::wasm::error::PluginError;
use crate::policies::wasm::syscalls;

/// Longest budget of a call, in milliseconds.
pub const MAX_EXECUTION_TIME_MS: u64 = 30_000;

/// Smallest memory limit: one page.
pub const MIN_MEMORY_BYTES: usize = 65_536;

/// Most instances of one plugin.
pub const MAX_INSTANCES: usize = 1000;

/// Most callers that may wait for one plugin.
pub const MAX_WAITING: usize = 1_000_000;

/// Longest time that a caller may wait for an instance, in milliseconds.
pub const MAX_WAIT_MS: u64 = 60_000;

/// Most bytes that a plugin may have in its private directory: 1 GiB.
pub const MAX_TMP_BYTES: u64 = 1 << 30;

/// Most files that a plugin may have there.
pub const MAX_TMP_FILES: u64 = 10_000;

/// Longest name.
const MAX_NAME_CHARS: usize = 64;

/// Checks configuration and options together.
///
/// # Errors
///
/// [`PluginError::ReservedName`] or [`PluginError::Config`].
pub fn check_config(config: &WasmPolicyConfig, options: &PluginOptions) -> Result<(), PluginError> {
    if NativePolicy::NAMES.contains(&config.name.as_str()) {
        let built_in = NativePolicy::NAMES.to_vec();
        return Err(PluginError::ReservedName { name: config.name.clone(), built_in });
    }
    let mut faults = Vec::new();
    check_limits(config, &mut faults);
    check_syscalls(config, &mut faults);
    check_options(options, &mut faults);
    if faults.is_empty() { Ok(()) } else { Err(PluginError::Config { name: config.name.clone(), faults }) }
}

fn fault(
    faults: &mut Vec<ConfigFault>,
    key: impl Into<String>,
    found: impl Display,
    expected: impl Into<String>,
) {
    faults.push(ConfigFault { key: key.into(), found: found.to_string(), expected: expected.into() });
}

fn check_limits(config: &WasmPolicyConfig, faults: &mut Vec<ConfigFault>) {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    let name = &config.name;
    if name.is_empty() || name.len() > MAX_NAME_CHARS || !name.chars().all(plain) {
        let expected = format!("1 to {MAX_NAME_CHARS} letters, digits, `_`, `-` or `.`");
        fault(faults, "name", format!("{name:?}"), expected);
    }
    if config.module_path.is_empty() {
        fault(faults, "module_path", "an empty path", "the path of a .wasm file");
    }
    let time = config.max_execution_time_ms;
    if !(1..=MAX_EXECUTION_TIME_MS).contains(&time) {
        fault(faults, "max_execution_time_ms", time, format!("1 to {MAX_EXECUTION_TIME_MS} (30 s)"));
    }
    let memory = config.max_memory_bytes;
    if !(MIN_MEMORY_BYTES..=MAX_MEMORY_BYTES).contains(&memory) {
        let expected = format!("{MIN_MEMORY_BYTES} (one page) to {MAX_MEMORY_BYTES} (100 MB)");
        fault(faults, "max_memory_bytes", memory, expected);
    }
}

fn check_syscalls(config: &WasmPolicyConfig, faults: &mut Vec<ConfigFault>) {
    for (at, name) in config.allowed_syscalls.iter().enumerate() {
        let key = format!("allowed_syscalls[{at}]");
        if let Some(why) = syscalls::forbidden(name) {
            fault(faults, key, format!("`{name}`"), format!("a function that can be allowed; {why}"));
        } else if !syscalls::KNOWN.contains(&name.as_str()) {
            let hint =
                syscalls::nearest(name).map_or(String::new(), |near| format!(" (did you mean `{near}`?)"));
            let expected = format!("a function of WASI preview 1, such as `clock_time_get`{hint}");
            fault(faults, key, format!("`{name}`"), expected);
        }
    }
}

fn check_options(options: &PluginOptions, faults: &mut Vec<ConfigFault>) {
    let most = options.max_instances;
    if !(1..=MAX_INSTANCES).contains(&most) {
        fault(faults, "options.max_instances", most, format!("1 to {MAX_INSTANCES}"));
    }
    if !(1..=most.max(1)).contains(&options.min_warm) {
        fault(faults, "options.min_warm", options.min_warm, format!("1 to max_instances ({most})"));
    }
    if options.max_waiting > MAX_WAITING {
        fault(faults, "options.max_waiting", options.max_waiting, format!("0 to {MAX_WAITING}"));
    }
    if options.max_wait_ms > MAX_WAIT_MS {
        fault(faults, "options.max_wait_ms", options.max_wait_ms, format!("0 to {MAX_WAIT_MS}"));
    }
    if options.max_tmp_bytes > MAX_TMP_BYTES {
        let expected = format!("0 to {MAX_TMP_BYTES} (1 GiB)");
        fault(faults, "options.max_tmp_bytes", options.max_tmp_bytes, expected);
    }
    if options.max_tmp_files > MAX_TMP_FILES {
        fault(faults, "options.max_tmp_files", options.max_tmp_files, format!("0 to {MAX_TMP_FILES}"));
    }
    if !NativePolicy::NAMES.contains(&options.fallback.as_str()) {
        let expected = format!("a built-in policy: {}", NativePolicy::NAMES.join(", "));
        fault(faults, "options.fallback", format!("`{}`", options.fallback), expected);
    }
    if let Some(digest) = &options.digest {
        let hex = pinned_digest(digest);
        if hex.len() != 64 || !hex.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            fault(faults, "options.digest", format!("`{digest}`"), "`sha256:` and 64 hex digits");
        }
    }
    check_rollout(options, faults);
    let breaker = &options.breaker;
    if breaker.backoff_ms == 0 || breaker.max_backoff_ms < breaker.backoff_ms {
        let found = format!("{} and max_backoff_ms = {}", breaker.backoff_ms, breaker.max_backoff_ms);
        fault(faults, "options.breaker.backoff_ms", found, "1 to max_backoff_ms");
    }
}

fn check_rollout(options: &PluginOptions, faults: &mut Vec<ConfigFault>) {
    let mut share = |key: &str, value: f64| {
        if !(0.0..=1.0).contains(&value) {
            fault(faults, key, value, "0.0 to 1.0");
        }
    };
    share("options.probation.max_failure_rate", options.probation.max_failure_rate);
    match &options.rollout {
        Rollout::Immediate => {}
        Rollout::Canary(canary) => {
            share("options.rollout.max_failure_rate_increase", canary.max_failure_rate_increase);
            share("options.rollout.max_request_error_rate_increase", canary.max_request_error_rate_increase);
            if !(canary.percent > 0.0 && canary.percent <= 100.0) {
                fault(faults, "options.rollout.percent", canary.percent, "above 0 and at most 100");
            }
            if !(canary.max_p99_ratio >= 1.0 && canary.max_p99_ratio.is_finite()) {
                fault(faults, "options.rollout.max_p99_ratio", canary.max_p99_ratio, "1.0 or more");
            }
        }
        Rollout::Shadow(shadow) => {
            if shadow.every == 0 {
                fault(faults, "options.rollout.every", 0, "1 or more");
            }
        }
    }
}

/// The hex digits of a pinned digest.
pub(crate) fn pinned_digest(digest: &str) -> &str {
    digest.strip_prefix("sha256:").unwrap_or(digest)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(config: &WasmPolicyConfig, options: &PluginOptions) -> Vec<String> {
        match check_config(config, options) {
            Err(PluginError::Config { faults, .. }) => faults.into_iter().map(|fault| fault.key).collect(),
            Ok(()) => Vec::new(),
            Err(other) => panic!("{other}"),
        }
    }

    #[test]
    fn the_defaults_and_the_first_documents_numbers_pass() {
        let mut config = WasmPolicyConfig::new("my_policy", "plugins/my_policy.wasm");
        assert!(faults(&config, &PluginOptions::default()).is_empty());
        config.max_execution_time_ms = 1000;
        config.max_memory_bytes = 1024 * 1024;
        assert!(faults(&config, &PluginOptions::default()).is_empty());
    }

    #[test]
    fn all_faults_are_reported_at_once() {
        let config = WasmPolicyConfig {
            module_path: String::new(),
            name: "a b".into(),
            max_execution_time_ms: 30_001,
            max_memory_bytes: 100 * 1024 * 1024 + 1,
            allowed_syscalls: vec!["sock_send".into(), "clock_time".into(), "random_get".into()],
            config: std::collections::HashMap::new(),
        };
        let options = PluginOptions {
            min_warm: 9,
            max_instances: 8,
            fallback: "mine".into(),
            digest: Some("sha256:12".into()),
            max_tmp_bytes: (1 << 30) + 1,
            max_tmp_files: 10_001,
            ..PluginOptions::default()
        };
        let expected = [
            "name",
            "module_path",
            "max_execution_time_ms",
            "max_memory_bytes",
            "allowed_syscalls[0]",
            "allowed_syscalls[1]",
            "options.min_warm",
            "options.max_tmp_bytes",
            "options.max_tmp_files",
            "options.fallback",
            "options.digest",
        ];
        assert_eq!(faults(&config, &options), expected);
        let message = check_config(&config, &options).unwrap_err().to_string();
        assert!(message.contains("did you mean `clock_time_get`?"), "{message}");
    }

    #[test]
    fn name_of_a_built_in_policy_is_reserved() {
        let error = check_config(&WasmPolicyConfig::new("round_robin", "x.wasm"), &PluginOptions::default());
        let message = error.unwrap_err().to_string();
        assert!(message.contains("`round_robin` is a built-in policy"), "{message}");
    }
}
