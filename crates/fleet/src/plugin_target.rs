//! What is served under a name.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// Where a module is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ModulePlace {
    /// In a registry: a reference with its digest, `oci://…@sha256:…`.
    Oci(String),
    /// In the fleet's own object store, under its digest.
    Store,
}

/// What is served under a name.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PluginTarget {
    /// Its number in the fleet. Grows with every push, and never comes again.
    pub generation: u64,
    /// Where its module is.
    pub module: ModulePlace,
    /// SHA-256 of the module, 64 hex digits.
    pub digest: String,
    /// Keys of a `[[plugins]]` table, laid over the defaults.
    #[serde(default)]
    pub settings: Map<String, Value>,
    /// Whether routers that serve it place their requests with it.
    #[serde(default)]
    pub place: bool,
    /// If it places: the policy that placed before, at all routers that were heard of. `None`: each had its own,
    /// or nobody was heard of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy_before: Option<String>,
    /// Who pushed it.
    #[serde(default)]
    pub by: String,
}

impl PluginTarget {
    /// Some module, with no number yet.
    #[cfg(test)]
    pub(crate) fn of_tests() -> Self {
        Self {
            generation: 0,
            module: ModulePlace::Store,
            digest: "d".to_owned(),
            settings: Map::new(),
            place: false,
            policy_before: None,
            by: String::new(),
        }
    }

    /// True if the same is served, whatever its number.
    pub fn is_like(&self, other: &Self) -> bool {
        self.digest == other.digest && self.settings == other.settings && self.place == other.place
    }
}
