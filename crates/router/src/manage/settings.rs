//! Settings of a plugin as an operator sends them: only those to change.

use std::collections::HashMap;

use serde_json::{Map, Value};

use crate::config::near_names::nearest_first;
use crate::config::plugin_entry::PluginEntry;
use crate::manage::error::ManageError;
use sglang_router_rs::config::{Fault, PluginOptions, Rollout, WasmPolicyConfig};

/// Other parts of a request say these, so its settings must not.
const GIVEN_ELSEWHERE: [&str; 2] = ["name", "module_path"];

/// Objects that count as one value. A rollout's mode decides which keys it has; a plugin's own
/// configuration may contain anything.
const SET_AS_A_WHOLE: [&str; 2] = ["rollout", "config"];

/// Some keys of a `[[plugins]]` table, as JSON. Laid over other settings, objects are merged key
/// by key and `null` brings a key back to its default (a JSON merge patch, RFC 7396).
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Settings(Map<String, Value>);

impl Settings {
    /// Checks that it holds no key that is given elsewhere. All other checks follow when they
    /// are laid over something.
    ///
    /// # Errors
    ///
    /// [`ManageError::Settings`] names the key.
    pub fn new(keys: Map<String, Value>) -> Result<Self, ManageError> {
        match GIVEN_ELSEWHERE.into_iter().find(|key| keys.contains_key(*key)) {
            Some(key) => Err(ManageError::Settings { reason: format!("`{key}` cannot be set here") }),
            None => Ok(Self(keys)),
        }
    }

    /// How the next generation is to take over, if the settings say so: `immediate`, `canary` or
    /// `shadow` if they are valid.
    pub fn rollout_mode(&self) -> Option<&str> {
        self.0.get("options")?.get("rollout")?.get("mode")?.as_str()
    }

    /// Checks keys and values, laid over the defaults.
    ///
    /// # Errors
    ///
    /// [`ManageError::Settings`], as [`over`](Self::over).
    pub(crate) fn check(&self) -> Result<(), ManageError> {
        self.over(WasmPolicyConfig::new("p", "p.wasm"), PluginOptions::default(), true).map(drop)
    }

    /// True if nothing is to change.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The keys of a plugin's own configuration that these settings leave as they were before.
    pub(crate) fn left_to(&self, own: &HashMap<String, Value>) -> Vec<String> {
        let given = self.0.get("config");
        own.keys()
            .filter(|key| given.is_none_or(|given| given.get(key.as_str()).is_none()))
            .cloned()
            .collect()
    }

    /// The names of the settings to change, each with its path: `options.min_warm`, or `config.spread`
    /// in the plugin's own configuration.
    pub fn names(&self) -> Vec<String> {
        let name = |way: Vec<&str>| match (way.as_slice(), self.0.get("config")) {
            (["config"], Some(Value::Object(own))) if !own.is_empty() => {
                own.keys().map(|key| format!("config.{key}")).collect()
            }
            _ => vec![way.join(".")],
        };
        leaves(&self.0).into_iter().flat_map(name).collect()
    }

    /// Lays these settings over those of a plugin. The rollout is not inherited, nor, if `other_module`
    /// is true, a pinned digest: both belong to the load that they were given for.
    ///
    /// # Errors
    ///
    /// [`ManageError::Settings`] names all keys that do not exist or have a value of another type.
    pub fn over(
        &self,
        config: WasmPolicyConfig,
        mut options: PluginOptions,
        other_module: bool,
    ) -> Result<(WasmPolicyConfig, PluginOptions), ManageError> {
        options.rollout = Rollout::default();
        if other_module {
            options.digest = None;
        }
        let unusable = |error: serde_json::Error| ManageError::Settings { reason: error.to_string() };
        let mut table = serde_json::to_value(config).map_err(unusable)?;
        if let Value::Object(table) = &mut table {
            table.insert("options".to_owned(), serde_json::to_value(options).map_err(unusable)?);
        }
        let before = table.clone();
        merge(&mut table, &Value::Object(self.0.clone()));
        match serde_json::from_value::<PluginEntry>(table) {
            Ok(entry) => Ok(entry.into_parts()),
            Err(first) => Err(self.unusable(&before, &first)),
        }
    }

    /// All keys that cannot be used, each with its fault. The deserializer stops at the first and does
    /// not name its key, so each is laid over `before` alone.
    fn unusable(&self, before: &Value, first: &serde_json::Error) -> ManageError {
        let mut reasons = Vec::new();
        for way in leaves(&self.0) {
            let (alone, mut table) = (only(&self.0, &way), before.clone());
            merge(&mut table, &alone);
            if let Err(error) = serde_json::from_value::<PluginEntry>(table) {
                let told = nearest_first(&error.to_string());
                reasons.push(Fault::text(way.join("."), None, told).to_string());
            }
        }
        let reason = if reasons.is_empty() { first.to_string() } else { reasons.join("; ") };
        ManageError::Settings { reason }
    }
}

/// The paths to all values that can be set alone.
fn leaves(keys: &Map<String, Value>) -> Vec<Vec<&str>> {
    let mut ways = Vec::new();
    for (key, value) in keys {
        match value {
            Value::Object(inner) if !SET_AS_A_WHOLE.contains(&key.as_str()) && !inner.is_empty() => {
                ways.extend(
                    leaves(inner).into_iter().map(|rest| [&[key.as_str()], rest.as_slice()].concat()),
                );
            }
            _ => ways.push(vec![key.as_str()]),
        }
    }
    ways
}

/// Only the value at the end of a path, inside its objects.
fn only(keys: &Map<String, Value>, way: &[&str]) -> Value {
    let Some((key, rest)) = way.split_first() else { return Value::Object(keys.clone()) };
    let inner = match keys.get(*key) {
        Some(Value::Object(inner)) => only(inner, rest),
        other => other.cloned().unwrap_or_default(),
    };
    Value::Object(Map::from_iter([((*key).to_owned(), inner)]))
}

/// A JSON merge patch, except that a `mode` other than before replaces its whole object: the keys
/// of a canary mean nothing to a shadow.
fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *target = patch.clone();
        return;
    };
    let other_mode = patch.get("mode").is_some_and(|mode| target.get("mode") != Some(mode));
    if !target.is_object() || other_mode {
        *target = Value::Object(Map::new());
    }
    let Value::Object(target) = target else { return };
    for (key, value) in patch {
        if value.is_null() {
            target.remove(key);
        } else {
            merge(target.entry(key.clone()).or_insert(Value::Null), value);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use sglang_router_rs::config::CanaryOptions;

    fn settings(value: Value) -> Settings {
        let Value::Object(keys) = value else { panic!("an object") };
        Settings::new(keys).unwrap()
    }

    #[test]
    fn only_what_is_given_changes() {
        let mut config = WasmPolicyConfig::new("p", "p.wasm");
        config.config.insert("a".to_owned(), json!(1));
        config.config.insert("b".to_owned(), json!({"x": 1, "y": 2}));
        let options = PluginOptions { min_warm: 3, digest: Some("d".to_owned()), ..PluginOptions::default() };
        let changed = json!({
            "max_execution_time_ms": 7,
            "config": {"a": null, "b": {"y": 3}},
            "options": {"max_waiting": 5, "rollout": {"mode": "canary", "percent": 2.5}},
        });
        let (new, new_options) = settings(changed).over(config.clone(), options.clone(), true).unwrap();
        assert_eq!((new.max_execution_time_ms, new.max_memory_bytes), (7, config.max_memory_bytes));
        assert_eq!(json!(new.config), json!({"b": {"x": 1, "y": 3}}));
        assert_eq!((new_options.min_warm, new_options.max_waiting, new_options.digest), (3, 5, None));
        let canary = CanaryOptions { percent: 2.5, ..CanaryOptions::default() };
        assert_eq!(new_options.rollout, Rollout::Canary(canary));
    }

    #[test]
    fn names_tell_what_is_to_change_and_no_value() {
        let changed = json!({
            "max_execution_time_ms": 7,
            "config": {"token": "secret", "spread": {"x": 1}},
            "options": {"max_waiting": null, "rollout": {"mode": "canary"}},
        });
        let mut names = settings(changed).names();
        names.sort();
        let expected = [
            "config.spread",
            "config.token",
            "max_execution_time_ms",
            "options.max_waiting",
            "options.rollout",
        ];
        assert_eq!(names, expected);
        assert_eq!(settings(json!({"config": {}})).names(), ["config"]);
        assert!(Settings::default().names().is_empty());
    }

    #[test]
    fn rollout_is_not_inherited_but_a_pin_is_for_the_same_module() {
        let rollout = Rollout::Canary(CanaryOptions::default());
        let options = PluginOptions { rollout, digest: Some("d".to_owned()), ..PluginOptions::default() };
        let (_, options) =
            Settings::default().over(WasmPolicyConfig::new("p", "p.wasm"), options, false).unwrap();
        assert_eq!((options.rollout, options.digest.as_deref()), (Rollout::Immediate, Some("d")));
    }

    #[test]
    fn unknown_keys_and_other_types_are_named() {
        let base = || (WasmPolicyConfig::new("p", "p.wasm"), PluginOptions::default());
        for (value, expected) in [
            (json!({"max_time": 1}), "max_time"),
            (json!({"options": {"min_warmth": 1}}), "min_warmth"),
            (json!({"max_memory_bytes": "many"}), "many"),
        ] {
            let (config, options) = base();
            let error = settings(value).over(config, options, true).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
        let (config, options) = base();
        let several = json!({
            "max_memory_bytes": "many",
            "max_time": 1,
            "max_execution_time_ms": 5,
            "config": {"any": {"thing": []}},
            "options": {"min_warmth": 1, "min_warm": 2, "breaker": {"failures": "few"},
                "rollout": {"mode": "canary", "percent": "x"}},
        });
        let error = settings(several).over(config, options, true).unwrap_err().to_string();
        let parts: Vec<&str> = error.split("; ").collect();
        let expected = [
            "the settings cannot be used: max_memory_bytes: invalid type: string \"many\"",
            "max_time: unknown field `max_time`",
            "options.breaker.failures: invalid type: string \"few\"",
            "options.min_warmth: unknown field `min_warmth`, expected one of `min_warm`, ",
            "options.rollout: invalid type: string \"x\"",
        ];
        assert_eq!(parts.len(), expected.len(), "{error}");
        assert!(parts.iter().zip(expected).all(|(part, expected)| part.starts_with(expected)), "{error}");
        let Value::Object(renamed) = json!({"name": "other"}) else { panic!("an object") };
        assert!(Settings::new(renamed).unwrap_err().to_string().contains("`name`"));
    }
}
