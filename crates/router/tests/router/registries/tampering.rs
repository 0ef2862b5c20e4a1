//! A registry whose disk somebody has written to.

use std::path::Path;

use serde_json::Value;
use sgl_testkit::small_guests::guest_choosing;

use crate::registries::docker_registry::DockerRegistry;
use crate::registries::{done, module, refused, text};

/// Changes one byte in the middle.
fn change(file: &Path) {
    let mut bytes = std::fs::read(file).expect("what the registry keeps");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(file, bytes).expect("the registry's disk");
}

async fn published(registry: &DockerRegistry, dir: &Path) -> (String, Value) {
    let file = module(dir, "p.wasm", &guest_choosing(0));
    let name = registry.named("team/p:1");
    let published = done(&["publish", &file, &name]).await;
    (name, published)
}

#[tokio::test]
async fn changed_layer_is_refused_by_tag_and_by_digest_and_nothing_is_written() {
    let Some(registry) = DockerRegistry::start() else { return };
    let dir = tempfile::tempdir().unwrap();
    let (name, published) = published(&registry, dir.path()).await;
    let digest = published["digest"].as_str().unwrap();
    let manifest = registry.get(&format!("/v2/team/p/manifests/{digest}")).await.json();
    change(&registry.blob(manifest["layers"][0]["digest"].as_str().unwrap()));
    let out = text(&dir.path().join("out.wasm"));
    for reference in [name, registry.named(&format!("team/p@{digest}"))] {
        let error = refused(&["pull", &reference, "--out", &out], 1).await;
        assert!(error.contains("registry_digest_mismatch") && error.contains("the module of"), "{error}");
        assert!(!Path::new(&out).exists());
    }
}

#[tokio::test]
async fn layer_that_grew_is_refused_before_it_is_read() {
    let Some(registry) = DockerRegistry::start() else { return };
    let dir = tempfile::tempdir().unwrap();
    let (name, published) = published(&registry, dir.path()).await;
    let digest = published["digest"].as_str().unwrap();
    let manifest = registry.get(&format!("/v2/team/p/manifests/{digest}")).await.json();
    let layer = registry.blob(manifest["layers"][0]["digest"].as_str().unwrap());
    let size = manifest["layers"][0]["size"].as_u64().unwrap();
    let grown = std::fs::OpenOptions::new().write(true).open(layer).unwrap();
    grown.set_len(size + 1).unwrap();
    let error = refused(&["pull", &name], 1).await;
    assert!(
        error.contains("registry_too_large") && error.contains(&format!("the limit is {size}")),
        "{error}"
    );
}

#[tokio::test]
async fn changed_manifest_is_refused_by_digest_and_by_tag() {
    let Some(registry) = DockerRegistry::start() else { return };
    let dir = tempfile::tempdir().unwrap();
    let (name, published) = published(&registry, dir.path()).await;
    let digest = published["digest"].as_str().unwrap();
    let file = registry.blob(digest);
    // Still a manifest, of a module with another name.
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, text.replacen("title\":\"", "title\":\"x", 1)).unwrap();
    for reference in [registry.named(&format!("team/p@{digest}")), name] {
        let error = refused(&["pull", &reference], 1).await;
        assert!(error.contains("registry_digest_mismatch"), "{error}");
        assert!(error.contains("the manifest of") && error.contains(digest), "{error}");
    }
}
