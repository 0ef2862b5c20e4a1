//! What the parts of an artifact are called.

/// A manifest of OCI.
pub const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// A list of manifests.
pub const INDEX: &str = "application/vnd.oci.image.index.v1+json";
/// A manifest of Docker.
pub const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
/// A list of manifests of Docker.
pub const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
/// The configuration that the CNCF's form has, and what it is an artifact of.
pub const WASM_CONFIG: &str = "application/vnd.wasm.config.v0+json";
/// A module in the CNCF's form: what is published.
pub const WASM: &str = "application/wasm";
/// A module as Spin, Kubewarden and older tools publish it.
pub const WASM_CONTENT: &str = "application/vnd.wasm.content.layer.v1+wasm";
/// A module as Istio and Envoy Gateway publish it, beside a layer of theirs.
pub const ISTIO_WASM: &str = "application/vnd.module.wasm.content.layer.v1+wasm";
/// The content `{}`, where a configuration must be named and there is none.
pub const EMPTY: &str = "application/vnd.oci.empty.v1+json";
/// A detached signature of a module, which refers to the module's manifest.
pub const SIGNATURE: &str = "application/vnd.sgl-router.module.signature.v1";
