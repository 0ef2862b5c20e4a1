//! `lb_policy_config`: what Envoy's configuration says to the module.

use std::collections::HashMap;

use serde::Deserialize;
use serde_json::{Map, Number, Value};
use sglang_router_rs::config::TrustRule;
use sglang_router_rs::policies::{PluginOptions, WasmPolicyConfig};

/// How long a decision may wait for an instance, in milliseconds, unless `options.max_wait_ms` says otherwise:
/// much less than in the router, since the thread that waits serves other requests too.
const DEFAULT_WAIT_MS: u64 = 5;

/// The settings of a cluster.
#[derive(Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub(crate) struct ClusterSettings {
    /// Where the plugin's module is: the path of a file, or `oci://HOST/REPOSITORY:TAG` or `…@sha256:DIGEST`. A
    /// file may hold such a reference in place of a module.
    pub module: String,
    /// Time in which the guest may run in one call, in milliseconds. Default: 10.
    #[serde(default = "default_execution_time_ms")]
    pub max_execution_time_ms: u64,
    /// Linear memory of one instance in bytes. Default: 16 MiB.
    #[serde(default = "default_memory_bytes")]
    pub max_memory_bytes: usize,
    /// WASI functions that the module may import. Default: none.
    #[serde(default)]
    pub allowed_syscalls: Vec<String>,
    /// The plugin's own configuration. Default: none.
    #[serde(default)]
    pub config: HashMap<String, Value>,
    /// Everything else that can be set for a plugin.
    #[serde(default)]
    pub options: PluginOptions,
    /// Whose signatures the module must carry. Default: nobody's.
    #[serde(default)]
    pub trust: Vec<TrustRule>,
    /// Keys of the hosts' metadata that plugins see as labels. `region`, `zone` and `sub_zone` are the host's
    /// locality where the metadata has no such key. Default: none; Envoy has no list of the keys of a host.
    #[serde(default)]
    pub labels: Vec<String>,
    /// Namespace of the metadata in which they are. Default: `envoy.lb`.
    #[serde(default = "default_namespace")]
    pub metadata_namespace: String,
    /// Milliseconds between two looks at the module's file: 100 to 3,600,000, or 0 = it is not looked at again.
    /// Default: 1000.
    #[serde(default = "default_check_interval_ms")]
    pub check_interval_ms: u64,
}

fn default_execution_time_ms() -> u64 {
    WasmPolicyConfig::DEFAULT_EXECUTION_TIME_MS
}

fn default_memory_bytes() -> usize {
    WasmPolicyConfig::DEFAULT_MEMORY_BYTES
}

fn default_namespace() -> String {
    "envoy.lb".to_owned()
}

fn default_check_interval_ms() -> u64 {
    1000
}

/// Why the settings are refused.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SettingsError {
    /// There are none.
    #[error(
        "lb_policy_config is missing: a google.protobuf.Struct with at least `module`, the path of a plugin"
    )]
    Missing,
    /// They are not JSON.
    #[error("lb_policy_config: {0}")]
    Json(#[from] serde_json::Error),
    /// They are not these fields.
    #[error("lb_policy_config: {0}")]
    Fields(#[from] serde_path_to_error::Error<serde_json::Error>),
    /// Too often or too seldom.
    #[error("lb_policy_config: check_interval_ms is {found}; it may be 100 to 3600000, or 0 for never")]
    Interval {
        /// What it is.
        found: u64,
    },
}

impl ClusterSettings {
    /// Reads what Envoy passes: the JSON of a `google.protobuf.Struct`, or that of a `StringValue`.
    ///
    /// # Errors
    ///
    /// [`SettingsError`].
    pub(crate) fn read(json: &str) -> Result<Self, SettingsError> {
        if json.trim().is_empty() {
            return Err(SettingsError::Missing);
        }
        let mut value: Value = serde_json::from_str(json)?;
        if let Value::Object(fields) = &mut value {
            for (key, value) in fields.iter_mut() {
                // All others are no fractions, and a path may look like one.
                make_numbers(value, matches!(key.as_str(), "config" | "options"));
            }
            add_wait(fields);
        }
        let settings: Self = serde_path_to_error::deserialize(value)?;
        match settings.check_interval_ms {
            0 | 100..=3_600_000 => Ok(settings),
            found => Err(SettingsError::Interval { found }),
        }
    }
}

fn add_wait(fields: &mut Map<String, Value>) {
    let options = fields.entry("options").or_insert_with(|| Value::Object(Map::new()));
    if let Value::Object(options) = options {
        options.entry("max_wait_ms").or_insert_with(|| DEFAULT_WAIT_MS.into());
    }
}

/// Every number of a `Struct` is a double, and is written like one from a million upwards. One with a point or an
/// exponent is a text by then where the configuration is YAML, and is a number again with `has_fractions`.
fn make_numbers(value: &mut Value, has_fractions: bool) {
    match value {
        Value::Array(values) => values.iter_mut().for_each(|value| make_numbers(value, has_fractions)),
        Value::Object(fields) => fields.values_mut().for_each(|value| make_numbers(value, has_fractions)),
        Value::Number(number) => make_whole(number),
        Value::String(text) if has_fractions => {
            if let Some(mut number) = fraction_in(text) {
                make_whole(&mut number);
                *value = Value::Number(number);
            }
        }
        Value::Null | Value::Bool(_) | Value::String(_) => {}
    }
}

fn make_whole(number: &mut Number) {
    /// Above this, doubles are too coarse to be a count.
    const LARGEST: f64 = 9_007_199_254_740_992.0;
    let whole = number.as_f64().filter(|float| float.fract() == 0.0 && float.abs() < LARGEST);
    if let (true, Some(whole)) = (number.is_f64(), whole) {
        #[expect(clippy::cast_possible_truncation, reason = "it is whole and within bounds")]
        let exact = whole as i64;
        *number = Number::from(exact);
    }
}

/// The number that a text is, if it has a point or an exponent and nothing that no number has.
fn fraction_in(text: &str) -> Option<Number> {
    /// Longer than doubles are written; digests are longer.
    const LONGEST: usize = 24;
    let is_plain =
        text.len() <= LONGEST && text.bytes().all(|byte| byte.is_ascii_digit() || b"+-.eE".contains(&byte));
    let is_fraction = text.bytes().any(|byte| b".eE".contains(&byte));
    if !(is_plain && is_fraction) {
        return None;
    }
    Number::from_f64(text.parse().ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn module_alone_is_enough_and_waits_are_short() {
        let settings = ClusterSettings::read(r#"{"module":"/a.wasm"}"#).unwrap();
        assert_eq!((settings.module.as_str(), settings.max_execution_time_ms), ("/a.wasm", 10));
        assert_eq!(settings.options, PluginOptions { max_wait_ms: 5, ..PluginOptions::default() });
        let waits = ClusterSettings::read(r#"{"module":"a","options":{"max_wait_ms":7}}"#).unwrap();
        assert_eq!(waits.options.max_wait_ms, 7);
    }

    #[test]
    fn whole_doubles_are_counts() {
        let settings =
            r#"{"module":"a","options":{"recycle_after_calls":1e+07},"config":{"half":0.5,"two":2.0}}"#;
        let settings = ClusterSettings::read(settings).unwrap();
        assert_eq!(settings.options.recycle_after_calls, 10_000_000);
        assert_eq!(settings.config["half"], 0.5);
        assert_eq!(settings.config["two"], 2);
    }

    #[test]
    fn fraction_that_yaml_made_a_text_is_a_number_again() {
        assert_eq!(ClusterSettings::read(r#"{"module":"1.5"}"#).unwrap().module, "1.5");
        let settings = r#"{"module":"a","options":{"rollout":{"mode":"canary","percent":"12.5"}},
            "config":{"half":"0.5","many":"1e7","name":"1.2.3","version":"v1.0","dash":"-"}}"#;
        let settings = ClusterSettings::read(settings).unwrap();
        assert_eq!(settings.config["half"], 0.5);
        assert_eq!(settings.config["many"], 10_000_000);
        assert_eq!(settings.config["name"], "1.2.3");
        assert_eq!(settings.config["version"], "v1.0");
        assert_eq!(settings.config["dash"], "-");
    }

    #[test]
    fn faults_are_told_by_name() {
        let error = |json: &str| ClusterSettings::read(json).unwrap_err().to_string();
        assert!(error("").contains("`module`"));
        assert!(error("{}").contains("missing field `module`"));
        assert!(
            error(r#"{"module":"a","labels":"gpu"}"#).starts_with("lb_policy_config: labels: invalid type")
        );
        assert!(error(r#"{"module":"a","modul":"b"}"#).contains("unknown field `modul`"));
        assert!(error(r#"{"module":"a","check_interval_ms":5}"#).contains("check_interval_ms is 5"));
        assert!(
            error(r#"{"module":"a","options":{"fallbak":"random"}}"#).contains("unknown field `fallbak`")
        );
        assert!(error("nonsense").contains("lb_policy_config: expected"));
    }
}
