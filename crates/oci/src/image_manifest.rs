//! Manifests: what an artifact is made of.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::media_types::{
    DOCKER_LIST, DOCKER_MANIFEST, EMPTY, INDEX, ISTIO_WASM, MANIFEST, SIGNATURE, WASM, WASM_CONFIG,
    WASM_CONTENT,
};
use crate::registry_error::RegistryError;
use crate::sha256_digest::Sha256Digest;

/// Where no configuration is needed.
pub(crate) const EMPTY_CONFIG: &[u8] = b"{}";

const EXPECTED: &str = "a manifest with one layer application/wasm, or \
                        application/vnd.wasm.content.layer.v1+wasm, or the two layers of Istio's form";

/// Layers that a message names at most.
const SHOWN: usize = 8;

/// Characters that it has of each at most.
const MAX_SHOWN: usize = 100;

/// A part of an artifact, by its digest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    /// What it is.
    pub media_type: String,
    /// What its bytes must be.
    pub digest: Sha256Digest,
    /// How many it has.
    pub size: u64,
    /// What it is an artifact of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
    /// What else is said of it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

impl Descriptor {
    /// Of these bytes.
    pub(crate) fn of(media_type: &str, bytes: &[u8]) -> Self {
        let (digest, size) = (Sha256Digest::of(bytes), bytes.len() as u64);
        let (artifact_type, annotations) = (None, BTreeMap::new());
        Self { media_type: media_type.to_owned(), digest, size, artifact_type, annotations }
    }
}

/// A manifest of OCI or Docker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ImageManifest {
    /// Always 2.
    pub schema_version: u8,
    /// What it is; some leave it to the answer's header.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media_type: Option<String>,
    /// What it is an artifact of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
    /// Its configuration.
    pub config: Descriptor,
    /// Its layers.
    pub layers: Vec<Descriptor>,
    /// The manifest that it refers to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<Descriptor>,
    /// What else is said of it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

/// A list of manifests.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ImageIndex {
    /// Always 2.
    pub schema_version: u8,
    /// What it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media_type: Option<String>,
    /// The manifests.
    pub manifests: Vec<Descriptor>,
}

/// The configuration of a module.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct WasmConfig {
    created: &'static str,
    architecture: &'static str,
    os: &'static str,
    layer_digests: Vec<Sha256Digest>,
}

/// The configuration of the CNCF's form. The same module gives the same bytes at any time: a manifest's
/// digest then says that it is the same module.
pub(crate) fn wasm_config(module: &[u8]) -> Vec<u8> {
    let layer_digests = vec![Sha256Digest::of(module)];
    let config =
        WasmConfig { created: "1970-01-01T00:00:00Z", architecture: "wasm", os: "wasip1", layer_digests };
    // Texts only: it can be JSON.
    serde_json::to_vec(&config).unwrap_or_default()
}

impl ImageManifest {
    /// Of a module with its configuration.
    pub(crate) fn of_module(module: &[u8], config: &[u8], annotations: BTreeMap<String, String>) -> Self {
        Self {
            schema_version: 2,
            media_type: Some(MANIFEST.to_owned()),
            artifact_type: Some(WASM_CONFIG.to_owned()),
            config: Descriptor::of(WASM_CONFIG, config),
            layers: vec![Descriptor::of(WASM, module)],
            subject: None,
            annotations,
        }
    }

    /// Of a detached signature of what `subject` is.
    pub(crate) fn of_signature(signature: &[u8], subject: Descriptor) -> Self {
        Self {
            schema_version: 2,
            media_type: Some(MANIFEST.to_owned()),
            artifact_type: Some(SIGNATURE.to_owned()),
            config: Descriptor::of(EMPTY, EMPTY_CONFIG),
            layers: vec![Descriptor::of(SIGNATURE, signature)],
            subject: Some(subject),
            annotations: BTreeMap::new(),
        }
    }

    /// Its bytes.
    pub(crate) fn to_bytes(&self) -> Bytes {
        // Texts and numbers only: it can be JSON.
        serde_json::to_vec(self).unwrap_or_default().into()
    }

    /// Reads it. `told` is what the answer says that it is.
    ///
    /// # Errors
    ///
    /// [`RegistryError::NoModule`] if it is a list or something else, [`RegistryError::Malformed`].
    pub fn read(bytes: &[u8], told: Option<&str>, what: &str) -> Result<Self, RegistryError> {
        let malformed = |error: serde_json::Error| RegistryError::Malformed {
            what: what.to_owned(),
            reason: error.to_string(),
        };
        let value: serde_json::Value = serde_json::from_slice(bytes).map_err(malformed)?;
        let own = value.get("mediaType").and_then(serde_json::Value::as_str);
        let kind = own.or(told.map(|told| told.split(';').next().unwrap_or_default().trim()));
        let is_list = value.get("manifests").is_some() || matches!(kind, Some(INDEX | DOCKER_LIST));
        let kind = kind.unwrap_or(MANIFEST);
        if is_list || !matches!(kind, MANIFEST | DOCKER_MANIFEST) {
            let kind = in_short(kind);
            let found = if is_list { format!("a list of manifests ({kind})") } else { format!("\"{kind}\"") };
            return Err(RegistryError::NoModule { what: what.to_owned(), found, expected: EXPECTED });
        }
        serde_json::from_value(value).map_err(malformed)
    }

    /// The layer that is the module.
    ///
    /// # Errors
    ///
    /// [`RegistryError::NoModule`] if there is none of a known form, or more than one.
    pub fn module_layer(&self, what: &str) -> Result<&Descriptor, RegistryError> {
        let is_wasm =
            |layer: &&Descriptor| matches!(layer.media_type.as_str(), WASM | WASM_CONTENT | ISTIO_WASM);
        let mut modules = self.layers.iter().filter(is_wasm);
        match (modules.next(), modules.next(), self.layers.len()) {
            (Some(layer), None, 1) => Ok(layer),
            (Some(layer), None, 2) if layer.media_type == ISTIO_WASM => Ok(layer),
            _ => {
                let kinds: Vec<String> =
                    self.layers.iter().map(|layer| in_short(&layer.media_type)).take(SHOWN).collect();
                let more = if self.layers.len() > SHOWN { ", …" } else { "" };
                let found = format!("{} layers ({}{more})", self.layers.len(), kinds.join(", "));
                Err(RegistryError::NoModule { what: what.to_owned(), found, expected: EXPECTED })
            }
        }
    }
}

/// What somebody else wrote, for a message.
fn in_short(text: &str) -> String {
    let mut shown: String = text.chars().take(MAX_SHOWN).collect();
    if shown.len() < text.len() {
        shown.push('…');
    }
    shown.escape_debug().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_layers(kinds: &[&str]) -> ImageManifest {
        let layers = kinds.iter().map(|kind| Descriptor::of(kind, b"m")).collect();
        ImageManifest { layers, ..ImageManifest::of_module(b"m", b"c", BTreeMap::new()) }
    }

    #[test]
    fn messages_are_short_however_much_a_registry_sends() {
        let many = with_layers(&vec!["application/wasm"; 20_000]).module_layer("p").unwrap_err().to_string();
        assert!(many.contains("found 20000 layers") && many.len() < 1000, "{} bytes", many.len());
        let long = "x".repeat(100_000);
        let one = with_layers(&[&long]).module_layer("p").unwrap_err().to_string();
        assert!(one.contains("found 1 layers (xxx") && one.len() < 1000, "{} bytes", one.len());
        let manifest = serde_json::json!({"mediaType": long}).to_string();
        let other = ImageManifest::read(manifest.as_bytes(), None, "p").unwrap_err().to_string();
        assert!(other.contains("found \"xxx") && other.len() < 1000, "{} bytes", other.len());
    }

    #[test]
    fn three_forms_are_modules_and_everything_else_is_told() {
        let other = "application/vnd.oci.image.layer.v1.tar+gzip";
        for good in [&[WASM][..], &[WASM_CONTENT], &[ISTIO_WASM], &[other, ISTIO_WASM]] {
            assert!(with_layers(good).module_layer("p").is_ok(), "{good:?}");
        }
        for bad in [&[][..], &[other], &[WASM, WASM], &[WASM, other], &[ISTIO_WASM, other, other]] {
            let error = with_layers(bad).module_layer("p").unwrap_err().to_string();
            assert!(error.contains(&format!("found {} layers", bad.len())), "{error}");
        }
    }

    #[test]
    fn list_of_manifests_is_refused_however_it_is_told() {
        let index = format!(r#"{{"schemaVersion": 2, "mediaType": "{INDEX}", "manifests": []}}"#);
        let untold = r#"{"schemaVersion": 2, "manifests": []}"#;
        for (text, told) in [
            (index.as_str(), None),
            (untold, Some(INDEX)),
            (untold, Some(MANIFEST)),
            ("{}", Some(DOCKER_LIST)),
        ] {
            let error = ImageManifest::read(text.as_bytes(), told, "p").unwrap_err();
            assert!(error.to_string().contains("a list of manifests"), "{error}");
        }
        let bytes = with_layers(&[WASM]).to_bytes();
        assert_eq!(ImageManifest::read(&bytes, Some("text/plain"), "p").unwrap(), with_layers(&[WASM]));
    }

    #[test]
    fn same_module_has_the_same_manifest_at_any_time() {
        let manifest = || ImageManifest::of_module(b"m", &wasm_config(b"m"), BTreeMap::new()).to_bytes();
        assert_eq!(manifest(), manifest());
        let text = String::from_utf8(wasm_config(b"m")).unwrap();
        assert!(text.contains(r#""architecture":"wasm","os":"wasip1","layerDigests":["sha256:"#), "{text}");
    }
}
