//! Manifests of guests, as fields of a module.

use sgl_policy_abi::{Concurrency, Input, Manifest, Wire, encode_to_vec};

use crate::text::custom_section;

/// The field that makes a guest a column guest with these inputs.
pub fn manifest(inputs: &[Input]) -> String {
    manifest_of(inputs, Concurrency::Parallel)
}

/// The same, parallel or serial.
pub fn manifest_of(inputs: &[Input], concurrency: Concurrency) -> String {
    section(&Manifest { inputs: inputs.to_vec(), concurrency, ..plain_manifest() })
}

/// A manifest that names no inputs.
pub fn plain_manifest() -> Manifest {
    Manifest {
        abi: 1,
        name: "test".into(),
        version: "1".into(),
        description: String::new(),
        wire: Wire::Columns,
        inputs: Vec::new(),
        concurrency: Concurrency::Parallel,
    }
}

/// A manifest as a field.
pub fn section(manifest: &Manifest) -> String {
    let bytes = encode_to_vec(|writer| manifest.encode(writer)).expect("fits");
    custom_section("sgl.policy", &bytes)
}
