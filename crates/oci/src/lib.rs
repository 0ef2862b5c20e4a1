//! Modules in OCI registries, as artifacts of one layer.
//!
//! ```text
//! reference ─► manifest (4 MiB at most) ─► layer (as large as the manifest says, and as may be) ─► module
//!                  └► referrers ─► detached signatures
//! ```
//!
//! What is written is the [Wasm artifact of the CNCF](https://tag-runtime.cncf.io/wgs/wasm/deliverables/wasm-oci-artifact/);
//! two other forms of one layer are read too ([`media_types`]). Of every answer it is known before it is
//! read how long it may be and how long it may take, and everything that a digest names is held to it.

pub mod media_types;
mod sha256_digest;
mod module_reference;
mod plain_http;
mod registry_error;
mod registry_settings;
mod challenge;
mod login;
mod credential_helper;
mod docker_config;
mod registry_url;
mod exchange;
mod image_manifest;
mod registry_session;
mod artifact_parts;
mod referrers;
mod pull;
mod publish;
mod registry_client;

pub use crate::image_manifest::{Descriptor, ImageIndex, ImageManifest};
pub use crate::module_reference::{ModuleReference, ReferenceError};
pub use crate::plain_http::PlainHttp;
pub use crate::publish::{ModuleToPublish, PublishedModule};
pub use crate::pull::PulledModule;
pub use crate::registry_client::RegistryClient;
pub use crate::registry_error::RegistryError;
pub use crate::registry_settings::RegistrySettings;
pub use crate::sha256_digest::Sha256Digest;
