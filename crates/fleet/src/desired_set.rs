//! What a fleet is to serve, as it was read at one time.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::desired_plugin::DesiredPlugin;
use crate::fleet_state_error::FleetStateError;

/// Which life of the fleet's data this is. A server that lost its data begins another.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Epoch {
    /// A random name.
    pub id: String,
    /// Names of those that operators replaced by it.
    #[serde(default)]
    pub replaces: Vec<String>,
    /// The router whose last good state is to be written first. Nobody follows until it has done so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
}

impl Epoch {
    /// A new one.
    pub fn new(replaces: Vec<String>, from: Option<String>) -> Self {
        Self { id: random_name(), replaces, from }
    }

    /// Reads a value.
    ///
    /// # Errors
    ///
    /// [`FleetStateError::Malformed`].
    pub fn read(key: &str, value: &[u8]) -> Result<Self, FleetStateError> {
        let malformed = |error: serde_json::Error| FleetStateError::Malformed {
            key: key.to_owned(),
            reason: format!("{error}; `sgl-router fleet adopt` puts another epoch in its place"),
        };
        serde_json::from_slice(value).map_err(malformed)
    }
}

/// A plugin with the revision of its value.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RevisedPlugin {
    /// Its revision: grows with every write to the bucket.
    pub revision: u64,
    /// The value.
    pub plugin: DesiredPlugin,
}

/// What a fleet is to serve, as it was read at one time.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DesiredSet {
    /// Which life of the data it is; `None` if nobody has begun one.
    pub epoch: Option<Epoch>,
    /// By names.
    pub plugins: BTreeMap<String, RevisedPlugin>,
    /// Why the epoch cannot be understood, if there is one that cannot.
    pub epoch_fault: Option<String>,
    /// Values that cannot be understood, by names of plugins.
    pub malformed: BTreeMap<String, String>,
}

/// A random name: of an epoch, of a write.
pub fn random_name() -> String {
    format!("{:016x}", fastrand::u64(..))
}
