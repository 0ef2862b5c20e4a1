//! What a new instance is told first.

use std::collections::{BTreeMap, HashMap};

use serde::Serialize;

/// A plugin's configuration as an encoded map, keys sorted, so that equal configurations are
/// equal bytes.
pub(crate) fn encoded_config(config: &HashMap<String, serde_json::Value>) -> Vec<u8> {
    let sorted: BTreeMap<_, _> = config.iter().collect();
    // Writing to memory does not fail, and every JSON value has a MessagePack form.
    rmp_serde::to_vec_named(&sorted).unwrap_or_default()
}

/// What `init` is told, in the form of the ABI's `Init`.
#[derive(Debug, Serialize)]
pub(crate) struct InitMessage<'a> {
    pub(crate) abi: u32,
    pub(crate) plugin: &'a str,
    pub(crate) generation: u64,
    pub(crate) config: &'a HashMap<String, serde_json::Value>,
    /// Different for each instance.
    pub(crate) seed: u64,
}

impl InitMessage<'_> {
    pub(crate) fn encode(&self) -> Vec<u8> {
        // Writing to memory does not fail, and every field has a MessagePack form.
        rmp_serde::to_vec_named(self).unwrap_or_default()
    }
}
