//! Signatures of modules in registries: embedded, and as what refers to the module.

use std::path::Path;

use sgl_oci::Sha256Digest;
use sgl_testkit::process::Process;
use sgl_testkit::small_guests::guest_choosing;

use crate::registries::docker_registry::DockerRegistry;
use crate::registries::false_registry::{FalseRegistry, manifest_of, with_status, with_type};
use crate::registries::{done, module, plugin, start_refused, text};

/// Keys `one` and `two`, and a configuration whose rule wants `one` on what a registry has.
async fn stage(dir: &Path, rule: &str) -> String {
    for name in ["one", "two"] {
        done(&["keygen", &text(&dir.join(name))]).await;
    }
    let key = text(&dir.join("one.pub"));
    let config = dir.join("router.toml");
    std::fs::write(&config, format!("[[trust]]\n{rule}keys = [{key:?}]\n")).expect("a file");
    text(&config)
}

async fn sign(dir: &Path, file: &str, key: &str) {
    done(&["sign", file, "--key", &text(&dir.join(format!("{key}.key")))]).await;
}

#[tokio::test]
async fn signature_that_refers_to_a_module_is_found_and_counts_as_one_in_a_file_does() {
    let Some(mut registry) = DockerRegistry::start() else { return };
    let dir = tempfile::tempdir().unwrap();
    let config = stage(dir.path(), "").await;
    let file = module(dir.path(), "p.wasm", &guest_choosing(0));
    let (name, cache) = (registry.named("team/p:1"), text(&dir.path().join("cache")));
    let named = format!("p={name}");
    let arguments = ["--config", &config, "--plugin", &named, "--policy", "p", "--registry-cache", &cache];
    done(&["publish", &file, &name]).await;
    let error = start_refused(&arguments).await;
    assert!(error.contains("a detached signature that refers to it at the registry"), "{error}");
    let (code, _, error) = plugin(&["verify", &name, "--config", &config]).await;
    assert!(code == 1 && error.contains("refers to it at the registry"), "{error}");
    // Another's signature is not enough; beside it, the right one is.
    sign(dir.path(), &file, "two").await;
    let signed = done(&["publish", &file, &name]).await;
    assert!(signed["signature"].is_string(), "{signed}");
    let error = start_refused(&arguments).await;
    assert!(error.contains("trust[0]"), "{error}");
    std::fs::remove_file(dir.path().join("p.wasm.sig")).unwrap();
    sign(dir.path(), &file, "one").await;
    let signed = done(&["publish", &file, &name]).await;
    assert_eq!(signed["replaced"], serde_json::Value::Null, "a signature does not change the module");
    let (code, out, error) = plugin(&["verify", &name, "--config", &config]).await;
    assert!(code == 0 && out.contains("signed by key"), "{out} {error}");
    // The cache has the module without it; the registry is asked for what came since.
    drop(Process::serve(&arguments).await);
    registry.stop();
    drop(Process::serve(&arguments).await);
    registry.start_again();
    // It comes along into a file, both signers in one.
    let out = text(&dir.path().join("out.wasm"));
    let pulled = done(&["pull", &name, "--out", &out]).await;
    assert_eq!(pulled["signatures"], 2);
    for key in ["one", "two"] {
        done(&["verify", &out, "--key", &text(&dir.path().join(format!("{key}.pub")))]).await;
    }
}

#[tokio::test]
async fn embedded_signature_needs_nothing_beside_the_module() {
    let Some(registry) = DockerRegistry::start() else { return };
    let dir = tempfile::tempdir().unwrap();
    let config = stage(dir.path(), "").await;
    let file = module(dir.path(), "p.wasm", &guest_choosing(0));
    done(&["sign", &file, "--key", &text(&dir.path().join("one.key")), "--embed"]).await;
    let name = registry.named("team/p:1");
    let published = done(&["publish", &file, &name]).await;
    assert_eq!(published["signature"], serde_json::Value::Null);
    drop(Process::serve(&["--config", &config, "--plugin", &format!("p={name}"), "--policy", "p"]).await);
}

#[tokio::test]
async fn rule_for_a_repository_binds_that_and_what_is_below_it() {
    let Some(registry) = DockerRegistry::start() else { return };
    let dir = tempfile::tempdir().unwrap();
    let rule = format!("registry = \"{}/team/strict\"\n", registry.address);
    let config = stage(dir.path(), &rule).await;
    let file = module(dir.path(), "p.wasm", &guest_choosing(0));
    let of = |name: &str| format!("p={}", registry.named(name));
    for name in ["team/strict:1", "team/strict/p:1", "team/stricter:1"] {
        done(&["publish", &file, &registry.named(name)]).await;
    }
    for bound in ["team/strict:1", "team/strict/p:1"] {
        let error = start_refused(&["--config", &config, "--plugin", &of(bound), "--policy", "p"]).await;
        assert!(error.contains("trust[0]") && error.contains("for the registry"), "{bound}: {error}");
    }
    drop(Process::serve(&["--config", &config, "--plugin", &of("team/stricter:1"), "--policy", "p"]).await);
}

#[tokio::test]
async fn changed_signature_is_left_out() {
    let Some(registry) = DockerRegistry::start() else { return };
    let dir = tempfile::tempdir().unwrap();
    let config = stage(dir.path(), "").await;
    let file = module(dir.path(), "p.wasm", &guest_choosing(0));
    sign(dir.path(), &file, "one").await;
    let name = registry.named("team/p:1");
    let published = done(&["publish", &file, &name]).await;
    let signature = published["signature"].as_str().unwrap();
    let manifest = registry.get(&format!("/v2/team/p/manifests/{signature}")).await.json();
    assert_eq!(manifest["subject"]["digest"], published["digest"]);
    let blob = registry.blob(manifest["layers"][0]["digest"].as_str().unwrap());
    let mut bytes = std::fs::read(&blob).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(&blob, bytes).unwrap();
    let error =
        start_refused(&["--config", &config, "--plugin", &format!("p={name}"), "--policy", "p"]).await;
    assert!(error.contains("a signature at the registry is left out"), "{error}");
    assert!(error.contains("refers to it at the registry"), "{error}");
}

/// A manifest of a signature of what has this digest.
fn signature_of(subject: Sha256Digest, signature: &[u8]) -> String {
    let (config, layer) = (Sha256Digest::of(b"{}"), Sha256Digest::of(signature));
    let kind = "application/vnd.sgl-router.module.signature.v1";
    serde_json::json!({
        "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json", "artifactType": kind,
        "config": {"mediaType": "application/vnd.oci.empty.v1+json", "digest": config, "size": 2},
        "layers": [{"mediaType": kind, "digest": layer, "size": signature.len()}],
        "subject": {"mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": subject, "size": 1},
    })
    .to_string()
}

#[tokio::test]
async fn registry_that_lists_referrers_is_asked_for_them_and_not_for_the_tag() {
    let dir = tempfile::tempdir().unwrap();
    stage(dir.path(), "").await;
    let wasm = guest_choosing(0);
    let file = module(dir.path(), "p.wasm", &wasm);
    sign(dir.path(), &file, "one").await;
    let signature = std::fs::read(dir.path().join("p.wasm.sig")).unwrap();
    let manifest = manifest_of(&wasm);
    let subject = Sha256Digest::of(manifest.as_bytes());
    // One of this module, and one that says that it is of another.
    let [good, other] = [subject, Sha256Digest::of(b"")].map(|subject| signature_of(subject, &signature));
    let descriptor = |text: &str, kind: &str| {
        let digest = Sha256Digest::of(text.as_bytes());
        let media_type = "application/vnd.oci.image.manifest.v1+json";
        serde_json::json!({"mediaType": media_type, "digest": digest, "size": text.len(), "artifactType": kind})
    };
    let kind = "application/vnd.sgl-router.module.signature.v1";
    let index = serde_json::json!({"schemaVersion": 2, "manifests": [
        descriptor("a list of materials", "application/spdx+json"), descriptor(&other, kind), descriptor(&good, kind),
    ]})
    .to_string();
    let known: Vec<(String, Vec<u8>)> = [&manifest, &good, &other]
        .map(|text| {
            (format!("GET /v2/p/manifests/{}", Sha256Digest::of(text.as_bytes())), text.clone().into_bytes())
        })
        .into_iter()
        .chain([("GET /v2/p/manifests/1".to_owned(), manifest.clone().into_bytes())])
        .chain(
            [&wasm, &signature]
                .map(|blob| (format!("GET /v2/p/blobs/{}", Sha256Digest::of(blob)), blob.clone())),
        )
        .collect();
    let registry = FalseRegistry::answering(move |what, _, _| {
        if what == format!("GET /v2/p/referrers/{subject}") {
            return with_type("application/vnd.oci.image.index.v1+json", index.clone());
        }
        known
            .iter()
            .find(|(name, _)| name == what)
            .map_or_else(|| with_status(404, "no"), |(_, body)| with_status(200, body.clone()))
    })
    .await;
    let out = text(&dir.path().join("out.wasm"));
    let pulled = done(&["pull", &registry.named("p:1"), "--out", &out]).await;
    assert_eq!(pulled["signatures"], 1, "{:?}", registry.paths());
    done(&["verify", &out, "--key", &text(&dir.path().join("one.pub"))]).await;
    assert!(!registry.paths().iter().any(|path| path.contains("sha256-")), "{:?}", registry.paths());
}

#[tokio::test]
async fn registry_without_such_a_path_in_any_words_is_asked_for_the_tag() {
    for status in [400, 404, 405, 501] {
        let dir = tempfile::tempdir().unwrap();
        let wasm = guest_choosing(0);
        let manifest = manifest_of(&wasm);
        let blob = format!("GET /v2/p/blobs/{}", Sha256Digest::of(&wasm));
        let registry = FalseRegistry::answering(move |what, _, _| match what {
            "GET /v2/p/manifests/1" => with_status(200, manifest.clone()),
            what if what == blob => with_status(200, wasm.clone()),
            what if what.contains("/referrers/") => with_status(status, "no"),
            _ => with_status(404, "no"),
        })
        .await;
        let out = text(&dir.path().join("out.wasm"));
        let pulled = done(&["pull", &registry.named("p:1"), "--out", &out]).await;
        assert_eq!(pulled["signatures"], 0, "{status}");
        let asked = registry.paths();
        assert_eq!(
            asked.iter().filter(|path| path.contains("/referrers/")).count(),
            1,
            "{status}: {asked:?}"
        );
        assert!(asked.iter().any(|path| path.contains("sha256-")), "{status}: {asked:?}");
    }
}
