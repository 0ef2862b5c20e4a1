//! The checks of plugins.

use std::ops::RangeInclusive;

use crate::config::faults::Fault;
use crate::config::router::PluginEntry;

const EXECUTION_TIME_MS: RangeInclusive<u64> = 1..=30_000;
const MEMORY_BYTES: RangeInclusive<usize> = 65_536..=104_857_600;
const INSTANCES: RangeInclusive<usize> = 1..=1000;
const MAX_WAITING: usize = 1_000_000;
const MAX_WAIT_MS: u64 = 60_000;
const MAX_TMP_BYTES: u64 = 1 << 30;
const MAX_TMP_FILES: u64 = 10_000;
const NAME_BYTES: RangeInclusive<usize> = 1..=64;

/// Adds the faults of all plugins. `built_in` are the names that no plugin may have.
pub(crate) fn check_plugins(plugins: &[PluginEntry], built_in: &[&str], faults: &mut Vec<Fault>) {
    for (position, plugin) in plugins.iter().enumerate() {
        let earlier = plugins.get(..position).unwrap_or_default();
        let is_taken = earlier.iter().any(|other| other.name == plugin.name);
        check_plugin(plugin, is_taken, built_in, &format!("plugins[{position}]"), faults);
    }
}

/// Adds the faults of one plugin; `path` is where it stands, `is_taken` says that another has
/// its name.
pub(crate) fn check_plugin(
    plugin: &PluginEntry,
    is_taken: bool,
    built_in: &[&str],
    path: &str,
    faults: &mut Vec<Fault>,
) {
    check_name(plugin, is_taken, built_in, path, faults);
    check_limits(plugin, path, faults);
    check_options(plugin, built_in, path, faults);
}

fn check_name(plugin: &PluginEntry, is_taken: bool, built_in: &[&str], path: &str, faults: &mut Vec<Fault>) {
    let name = plugin.name.as_str();
    let valid = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte);
    let mut fault = |allowed: &str| faults.push(Fault::value(format!("{path}.name"), quoted(name), allowed));
    if !NAME_BYTES.contains(&name.len()) || !name.bytes().all(valid) {
        fault("1 to 64 letters, digits, `_`, `-`, `.`");
    } else if built_in.contains(&name) {
        fault("any name but those of the built-in policies");
    } else if is_taken {
        fault("a name that no other plugin has");
    }
    if plugin.module_path.is_empty() {
        faults.push(Fault::value(format!("{path}.module_path"), "nothing", "the path of a `.wasm` file"));
    }
}

fn check_limits(plugin: &PluginEntry, path: &str, faults: &mut Vec<Fault>) {
    if !EXECUTION_TIME_MS.contains(&plugin.max_execution_time_ms) {
        let found = plugin.max_execution_time_ms;
        faults.push(Fault::value(format!("{path}.max_execution_time_ms"), found, "1 to 30000"));
    }
    if !MEMORY_BYTES.contains(&plugin.max_memory_bytes) {
        let allowed = "65536 (one page) to 104857600 (100 MB)";
        faults.push(Fault::value(format!("{path}.max_memory_bytes"), plugin.max_memory_bytes, allowed));
    }
    for (item, name) in plugin.allowed_syscalls.iter().enumerate() {
        if name.is_empty() || name.starts_with("sock_") || name == "proc_raise" {
            let allowed = "WASI preview 1 functions, but neither `sock_*` nor `proc_raise`";
            faults.push(Fault::value(format!("{path}.allowed_syscalls[{item}]"), quoted(name), allowed));
        }
    }
}

fn check_options(plugin: &PluginEntry, built_in: &[&str], path: &str, faults: &mut Vec<Fault>) {
    let options = &plugin.options;
    let mut fault = |key: &str, found: String, allowed: &str| {
        faults.push(Fault::value(format!("{path}.options.{key}"), found, allowed));
    };
    if !INSTANCES.contains(&options.max_instances) {
        fault("max_instances", options.max_instances.to_string(), "1 to 1000");
    } else if !(1..=options.max_instances).contains(&options.min_warm) {
        fault("min_warm", options.min_warm.to_string(), "1 to max_instances");
    }
    if options.max_waiting > MAX_WAITING {
        fault("max_waiting", options.max_waiting.to_string(), "0 to 1000000");
    }
    if options.max_wait_ms > MAX_WAIT_MS {
        fault("max_wait_ms", options.max_wait_ms.to_string(), "0 to 60000");
    }
    if options.max_tmp_bytes > MAX_TMP_BYTES {
        fault("max_tmp_bytes", options.max_tmp_bytes.to_string(), "0 to 1073741824 (1 GiB)");
    }
    if options.max_tmp_files > MAX_TMP_FILES {
        fault("max_tmp_files", options.max_tmp_files.to_string(), "0 to 10000");
    }
    if !built_in.contains(&options.fallback.as_str()) {
        fault("fallback", quoted(&options.fallback), &format!("one of {}", built_in.join(", ")));
    }
    let hex = options.digest.as_deref().map(|text| text.strip_prefix("sha256:").unwrap_or(text));
    if hex.is_some_and(|hex| hex.len() != 64 || !hex.bytes().all(|byte| byte.is_ascii_hexdigit())) {
        let found = quoted(options.digest.as_deref().unwrap_or_default());
        fault("digest", found, "64 hex digits, `sha256:` before them or not");
    }
    if options.breaker.max_backoff_ms < options.breaker.backoff_ms {
        fault("breaker.max_backoff_ms", options.breaker.max_backoff_ms.to_string(), "at least backoff_ms");
    }
}

fn quoted(text: &str) -> String {
    format!("{text:?}")
}
