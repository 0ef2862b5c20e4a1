//! What is written, key by key, so that it can be said what is written otherwise now.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use sgl_api::ChangedValue;

/// What stands in the place of a secret.
pub(crate) const HIDDEN: &str = "***";

/// What is written for each key, by key path: texts as they are, else JSON.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct WrittenKeys(BTreeMap<String, String>);

impl WrittenKeys {
    /// Of settings in their JSON form.
    pub(crate) fn of(settings: &Value) -> Self {
        let mut keys = Self::default();
        keys.add(String::new(), settings);
        keys
    }

    fn add(&mut self, path: String, value: &Value) {
        match value {
            Value::Null => {}
            Value::Object(table) => table.iter().for_each(|(key, value)| {
                self.add(if path.is_empty() { key.clone() } else { format!("{path}.{key}") }, value);
            }),
            Value::String(text) => drop(self.0.insert(path, text.clone())),
            other => drop(self.0.insert(path, other.to_string())),
        }
    }

    /// The keys that are written otherwise in `now`, sorted; the values of `secrets` are not told.
    pub(crate) fn changed(&self, now: &Self, secrets: &[&str]) -> Vec<ChangedValue> {
        let keys: BTreeSet<&String> = self.0.keys().chain(now.0.keys()).collect();
        let changed = keys.into_iter().filter(|key| self.0.get(*key) != now.0.get(*key));
        let told = |keys: &Self, key: &String| {
            let value = keys.0.get(key)?;
            Some(if secrets.contains(&key.as_str()) { HIDDEN.to_owned() } else { value.clone() })
        };
        changed
            .map(|key| ChangedValue { key: key.clone(), before: told(self, key), now: told(now, key) })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::router::RouterConfig;
    use crate::config::toml_text::read;

    fn keys(text: &str) -> WrittenKeys {
        WrittenKeys::of(&serde_json::to_value(read::<RouterConfig>(text).0).unwrap())
    }

    fn told(changed: &[ChangedValue]) -> Vec<(&str, Option<&str>, Option<&str>)> {
        changed.iter().map(|one| (one.key.as_str(), one.before.as_deref(), one.now.as_deref())).collect()
    }

    #[test]
    fn each_key_that_is_written_otherwise_is_named_and_none_that_a_reload_follows() {
        let before = keys("policy = \"random\"\nmax_plugin_memory = 9\n[health]\ninterval_secs = 3\n");
        let now =
            keys("[retry]\non = [\"429\"]\n[health]\ninterval_secs = 4\n[[workers]]\nurl = \"http://a\"\n");
        let changed = before.changed(&now, &[]);
        let changed = told(&changed);
        assert_eq!(changed[0], ("health.interval_secs", Some("3"), Some("4")));
        assert_eq!(changed[1], ("max_plugin_memory", Some("9"), None));
        assert_eq!(changed[2], ("policy", Some("random"), Some("round_robin")));
        assert_eq!((changed[3].0, changed[3].2, changed.len()), ("retry.on", Some("[\"429\"]"), 4));
        assert_eq!(now.changed(&now, &[]), []);
    }

    #[test]
    fn secret_that_is_another_is_named_and_not_told() {
        let of = |key: &str| WrittenKeys::of(&serde_json::json!({"api_key": key, "weight": 1.0}));
        let changed = of("sk-1").changed(&of("sk-2"), &["api_key"]);
        assert_eq!(told(&changed), [("api_key", Some("***"), Some("***"))]);
    }
}
