//! The keys that a running router does not follow, so that a reload can say which of them it left.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::config::router::RouterConfig;

/// What is written for each key that needs a restart, by key path: texts as they are, else JSON.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FixedKeys(BTreeMap<String, String>);

/// A key that is written otherwise than before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChangedKey<'a> {
    /// Its path, such as `health.interval_secs`.
    pub key: &'a str,
    /// What was written before.
    pub before: &'a str,
    /// What is written now.
    pub now: &'a str,
}

impl FixedKeys {
    /// Of a configuration with its flags. What a reload follows is left out when it is serialised. One
    /// that holds a path which is no UTF-8 has no JSON form, and no keys here.
    pub fn of(config: &RouterConfig) -> Self {
        let mut keys = Self::default();
        if let Ok(value) = serde_json::to_value(config) {
            keys.add(String::new(), &value);
        }
        keys
    }

    fn add(&mut self, path: String, value: &Value) {
        match value {
            Value::Object(table) => table.iter().for_each(|(key, value)| {
                self.add(if path.is_empty() { key.clone() } else { format!("{path}.{key}") }, value);
            }),
            Value::String(text) => drop(self.0.insert(path, text.clone())),
            other => drop(self.0.insert(path, other.to_string())),
        }
    }

    /// The keys that are written otherwise in `now`, sorted.
    pub fn changed<'a>(&'a self, now: &'a Self) -> impl Iterator<Item = ChangedKey<'a>> {
        // Both hold all keys of the schema, unless one of them is empty.
        self.0.iter().filter_map(|(key, before)| {
            let now = now.0.get(key).filter(|now| *now != before)?;
            Some(ChangedKey { key, before, now })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::toml_text::read;

    fn keys(text: &str) -> FixedKeys {
        FixedKeys::of(&read(text).0)
    }

    #[test]
    fn each_key_that_is_written_otherwise_is_named_and_none_that_a_reload_follows() {
        let before = keys("policy = \"random\"\n[health]\ninterval_secs = 3\n");
        let now =
            keys("[retry]\non = [\"429\"]\n[health]\ninterval_secs = 4\n[[workers]]\nurl = \"http://a\"\n");
        let changed: Vec<_> = before.changed(&now).map(|one| (one.key, one.before, one.now)).collect();
        assert_eq!(changed[0], ("health.interval_secs", "3", "4"));
        assert_eq!(changed[1], ("policy", "random", "round_robin"));
        assert_eq!((changed[2].0, changed[2].2, changed.len()), ("retry.on", "[\"429\"]", 3));
        assert_eq!(now.changed(&now).count(), 0);
    }
}
