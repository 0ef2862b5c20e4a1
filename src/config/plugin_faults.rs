//! What is wrong with the settings of one plugin. The file, the operations API and the loader all ask
//! here, so that none of them accepts what another refuses.

use std::fmt::Display;
use std::ops::RangeInclusive;

use crate::config::faults::Fault;
use crate::config::plugin::{BreakerOptions, PluginOptions, WasmPolicyConfig};
use crate::config::rollout::{CanaryOptions, Rollout};
use crate::config::{limits, syscalls};

/// All faults of a plugin's settings, with their keys in its table. `built_in` are the names of the
/// built-in policies: no plugin may have one, and every fallback is one.
pub fn plugin_faults(config: &WasmPolicyConfig, options: &PluginOptions, built_in: &[&str]) -> Vec<Fault> {
    let mut faults = Vec::new();
    check_name(&config.name, built_in, &mut faults);
    check_limits(config, &mut faults);
    check_syscalls(config, &mut faults);
    check_options(options, built_in, &mut faults);
    check_rollout(&options.rollout, &mut faults);
    check_share("options.probation.max_failure_rate", options.probation.max_failure_rate, &mut faults);
    check_breaker(&options.breaker, &mut faults);
    faults
}

/// The hex digits of a pinned digest.
pub(crate) fn pinned_digest(digest: &str) -> &str {
    digest.strip_prefix("sha256:").unwrap_or(digest)
}

fn check_name(name: &str, built_in: &[&str], faults: &mut Vec<Fault>) {
    let most = limits::MAX_NAME_BYTES;
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte);
    if name.is_empty() || name.len() > most || !name.bytes().all(plain) {
        let allowed = format!("1 to {most} letters, digits, `_`, `-`, `.`");
        faults.push(Fault::value("name", format!("{name:?}"), allowed));
    } else if built_in.contains(&name) {
        let allowed = "any name but those of the built-in policies";
        faults.push(Fault::value("name", format!("{name:?}"), allowed));
    }
}

fn check_limits(config: &WasmPolicyConfig, faults: &mut Vec<Fault>) {
    if config.module_path.is_empty() {
        faults.push(Fault::value("module_path", "nothing", "the path of a `.wasm` file"));
    }
    check_range("max_execution_time_ms", config.max_execution_time_ms, limits::EXECUTION_TIME_MS, faults);
    let (memory, range) = (config.max_memory_bytes, limits::MEMORY_BYTES);
    if !range.contains(&memory) {
        let allowed = format!("{} (one page) to {} (100 MB)", range.start(), range.end());
        faults.push(Fault::value("max_memory_bytes", memory, allowed));
    }
}

fn check_range<T: PartialOrd + Display>(
    key: &str,
    found: T,
    range: RangeInclusive<T>,
    faults: &mut Vec<Fault>,
) {
    if !range.contains(&found) {
        faults.push(Fault::value(key, found, format!("{} to {}", range.start(), range.end())));
    }
}

fn check_syscalls(config: &WasmPolicyConfig, faults: &mut Vec<Fault>) {
    if let (false, Some(_)) = (syscalls::AVAILABLE, config.allowed_syscalls.first()) {
        let found = format!("{:?}", config.allowed_syscalls);
        faults.push(Fault::value("allowed_syscalls", found, format!("nothing; {}", syscalls::MISSING)));
        return;
    }
    for (item, name) in config.allowed_syscalls.iter().enumerate() {
        let allowed = if let Some(why) = syscalls::forbidden(name) {
            format!("WASI preview 1 functions, but neither `sock_*` nor `proc_raise` ({why})")
        } else if syscalls::KNOWN_SYSCALLS.contains(&name.as_str()) {
            continue;
        } else {
            let near = syscalls::nearest(name);
            let hint = near.map_or(String::new(), |near| format!(" (did you mean `{near}`?)"));
            format!("WASI preview 1 functions, such as `clock_time_get`{hint}")
        };
        faults.push(Fault::value(format!("allowed_syscalls[{item}]"), format!("{name:?}"), allowed));
    }
}

fn check_options(options: &PluginOptions, built_in: &[&str], faults: &mut Vec<Fault>) {
    let most = options.max_instances;
    check_range("options.max_instances", most, limits::INSTANCES, faults);
    if limits::INSTANCES.contains(&most) && !(1..=most).contains(&options.min_warm) {
        faults.push(Fault::value("options.min_warm", options.min_warm, "1 to max_instances"));
    }
    check_range("options.max_waiting", options.max_waiting, limits::WAITING, faults);
    check_range("options.max_wait_ms", options.max_wait_ms, limits::WAIT_MS, faults);
    check_range("options.reasks", options.reasks, limits::REASKS, faults);
    check_range("options.max_tmp_bytes", options.max_tmp_bytes, limits::TMP_BYTES, faults);
    check_range("options.max_map_bytes", options.max_map_bytes, limits::MAP_BYTES, faults);
    check_range("options.max_map_entries", options.max_map_entries, limits::MAP_ENTRIES, faults);
    check_range("options.max_tmp_files", options.max_tmp_files, limits::TMP_FILES, faults);
    if !built_in.contains(&options.fallback.as_str()) {
        let allowed = format!("one of {}", built_in.join(", "));
        faults.push(Fault::value("options.fallback", format!("{:?}", options.fallback), allowed));
    }
    if let Some(digest) = &options.digest {
        let hex = pinned_digest(digest);
        if hex.len() != 64 || !hex.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            let allowed = "64 hex digits, `sha256:` before them or not";
            faults.push(Fault::value("options.digest", format!("{digest:?}"), allowed));
        }
    }
}

fn check_breaker(breaker: &BreakerOptions, faults: &mut Vec<Fault>) {
    let (first, longest) = (breaker.backoff_ms, breaker.max_backoff_ms);
    if first == 0 {
        faults.push(Fault::value("options.breaker.backoff_ms", first, "1 to max_backoff_ms"));
    } else if longest < first {
        let allowed = format!("at least backoff_ms ({first})");
        faults.push(Fault::value("options.breaker.max_backoff_ms", longest, allowed));
    }
}

fn check_rollout(rollout: &Rollout, faults: &mut Vec<Fault>) {
    match rollout {
        Rollout::Immediate => {}
        Rollout::Canary(canary) => check_canary(canary, faults),
        Rollout::Shadow(shadow) if shadow.every == 0 => {
            faults.push(Fault::value("options.rollout.every", 0, "1 or more"));
        }
        Rollout::Shadow(_) => {}
    }
}

fn check_canary(canary: &CanaryOptions, faults: &mut Vec<Fault>) {
    if !(canary.percent > 0.0 && canary.percent <= 100.0) {
        faults.push(Fault::value("options.rollout.percent", canary.percent, "above 0 and at most 100"));
    }
    for (key, share) in [
        ("max_failure_rate_increase", canary.max_failure_rate_increase),
        ("max_request_error_rate_increase", canary.max_request_error_rate_increase),
    ] {
        check_share(&format!("options.rollout.{key}"), share, faults);
    }
    if !(canary.max_p99_ratio >= 1.0 && canary.max_p99_ratio.is_finite()) {
        faults.push(Fault::value("options.rollout.max_p99_ratio", canary.max_p99_ratio, "1.0 or more"));
    }
}

/// NaN is not a share either.
fn check_share(key: &str, share: f64, faults: &mut Vec<Fault>) {
    if !(0.0..=1.0).contains(&share) {
        faults.push(Fault::value(key, share, "0.0 to 1.0"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BUILT_IN: [&str; 2] = ["random", "round_robin"];

    fn faults(config: &WasmPolicyConfig, options: &PluginOptions) -> Vec<String> {
        plugin_faults(config, options, &BUILT_IN).into_iter().map(|fault| fault.path).collect()
    }

    #[test]
    fn the_defaults_and_the_first_documents_numbers_pass() {
        let mut config = WasmPolicyConfig::new("my_policy", "plugins/my_policy.wasm");
        assert!(faults(&config, &PluginOptions::default()).is_empty());
        config.max_execution_time_ms = 1000;
        config.max_memory_bytes = 1024 * 1024;
        assert!(faults(&config, &PluginOptions::default()).is_empty());
    }

    #[cfg(feature = "wasi")]
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
            max_map_bytes: (256 << 20) + 1,
            max_map_entries: 262_145,
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
            "options.max_map_bytes",
            "options.max_map_entries",
            "options.max_tmp_files",
            "options.fallback",
            "options.digest",
        ];
        assert_eq!(faults(&config, &options), expected);
        let message = plugin_faults(&config, &options, &BUILT_IN)[5].to_string();
        assert!(message.contains("did you mean `clock_time_get`?"), "{message}");
    }

    #[test]
    fn name_of_a_built_in_policy_is_reserved() {
        let config = WasmPolicyConfig::new("round_robin", "x.wasm");
        let found = plugin_faults(&config, &PluginOptions::default(), &BUILT_IN);
        let text = r#"name: found "round_robin"; allowed: any name but those of the built-in policies"#;
        assert_eq!(found.iter().map(Fault::to_string).collect::<Vec<_>>(), [text]);
    }

    #[test]
    fn first_pause_must_not_be_zero_nor_longer_than_the_longest() {
        for (backoff_ms, max_backoff_ms, expected) in [
            (0, 0, "options.breaker.backoff_ms"),
            (0, 9, "options.breaker.backoff_ms"),
            (9, 8, "options.breaker.max_backoff_ms"),
        ] {
            let breaker = BreakerOptions { backoff_ms, max_backoff_ms, ..BreakerOptions::default() };
            let options = PluginOptions { breaker, ..PluginOptions::default() };
            assert_eq!(faults(&WasmPolicyConfig::new("p", "p.wasm"), &options), [expected]);
        }
    }
}
