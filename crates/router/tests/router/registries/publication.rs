//! What is published, and that it comes back.

use serde_json::{Value, json};
use sgl_testkit::modules;
use sgl_testkit::process::{command, output, stderr, stdout};
use sgl_testkit::small_guests::guest_choosing;

use crate::registries::docker_registry::DockerRegistry;
use crate::registries::{done, module, plugin, refused, text};

#[tokio::test]
async fn published_module_comes_back_by_its_tag_and_its_digest() {
    let Some(registry) = DockerRegistry::start() else { return };
    let dir = tempfile::tempdir().unwrap();
    let wasm = modules::plugin("least_connections");
    let file = module(dir.path(), "least_connections.wasm", &wasm);
    let name = registry.named("team/least_connections:1.0");
    let published = done(&["publish", &file, &name]).await;
    let digest = published["digest"].as_str().unwrap();
    assert_eq!(published["reference"], json!(format!("{name}@{digest}")));
    assert_eq!((&published["replaced"], &published["signature"]), (&json!(null), &json!(null)));
    // The CNCF's form, as the registry has it.
    let manifest = registry.get(&format!("/v2/team/least_connections/manifests/{digest}")).await.json();
    assert_eq!(manifest["artifactType"], json!("application/vnd.wasm.config.v0+json"));
    assert_eq!(manifest["config"]["mediaType"], json!("application/vnd.wasm.config.v0+json"));
    assert_eq!(manifest["layers"].as_array().map(Vec::len), Some(1));
    assert_eq!(manifest["layers"][0]["mediaType"], json!("application/wasm"));
    assert_eq!(manifest["layers"][0]["size"], json!(wasm.len()));
    assert_eq!(manifest["annotations"]["org.opencontainers.image.title"], json!("least_connections"));
    let config = manifest["config"]["digest"].as_str().unwrap();
    let config = registry.get(&format!("/v2/team/least_connections/blobs/{config}")).await.json();
    assert_eq!((&config["architecture"], &config["os"]), (&json!("wasm"), &json!("wasip1")));
    assert_eq!(config["layerDigests"], json!([manifest["layers"][0]["digest"]]));
    for reference in [name.clone(), registry.named(&format!("team/least_connections@{digest}"))] {
        let out = text(&dir.path().join("back.wasm"));
        let pulled = done(&["pull", &reference, "--out", &out]).await;
        assert_eq!(std::fs::read(&out).unwrap(), wasm);
        assert_eq!((&pulled["digest"], &pulled["signatures"]), (&json!(digest), &json!(0)));
        assert!(!dir.path().join("back.wasm.sig").exists());
    }
    // The same module is the same manifest; another under the tag is told.
    let again = done(&["publish", &file, &name]).await;
    assert_eq!((&again["digest"], &again["replaced"]), (&json!(digest), &json!(null)));
    let other = module(dir.path(), "other.wasm", &guest_choosing(0));
    let moved = done(&["publish", &other, &name]).await;
    assert_eq!(moved["replaced"], json!(digest));
    let (code, out, _) =
        plugin(&["check", &name, &registry.named(&format!("team/least_connections@{digest}"))]).await;
    assert!(code == 0 && out.matches("fits").count() == 2, "{out}");
}

#[tokio::test]
async fn what_cannot_be_published_or_pulled_is_told_with_what_was_expected() {
    let Some(registry) = DockerRegistry::start() else { return };
    let dir = tempfile::tempdir().unwrap();
    let file = module(dir.path(), "p.wasm", &guest_choosing(0));
    let none = registry.named("team/none:1");
    let error = refused(&["pull", &none], 1).await;
    assert!(error.contains("not_in_registry") && error.contains("MANIFEST_UNKNOWN"), "{error}");
    for (wrong, reason) in [("oci://r/p", "neither a tag nor a digest"), ("r/p:1", "begin with oci://")] {
        let error = refused(&["publish", &file, wrong], 2).await;
        assert!(error.contains(reason) && error.contains("expected oci://HOST"), "{error}");
    }
    let digest = format!("{}@sha256:{}", registry.named("team/p:1"), "0".repeat(64));
    let error = refused(&["publish", &file, &digest], 2).await;
    assert!(error.contains("a digest cannot be chosen"), "{error}");
    let bad = module(dir.path(), "bad.wasm", b"\0asm\x01\0\0\0");
    let (code, _, error) = plugin(&["publish", &bad, &registry.named("team/bad:1")]).await;
    assert!(code == 1 && error.contains("not published, since a router would refuse it"), "{error}");
    assert_eq!(registry.get("/v2/team/bad/manifests/1").await.status, 404);
    // A signature of another module must not come to lie beside the one that is pulled.
    done(&["publish", &file, &registry.named("team/p:1")]).await;
    let out = text(&dir.path().join("out.wasm"));
    std::fs::write(dir.path().join("out.wasm.sig"), "another's").unwrap();
    let (code, _, error) = plugin(&["pull", &registry.named("team/p:1"), "--out", &out]).await;
    assert!(code == 2 && error.contains("out.wasm.sig") && error.contains("remove it"), "{error}");
}

#[tokio::test]
async fn simulations_and_replays_take_modules_from_registries() {
    let Some(registry) = DockerRegistry::start() else { return };
    let dir = tempfile::tempdir().unwrap();
    let file = module(dir.path(), "toll.wasm", &modules::plugin("toll"));
    let name = registry.named("team/toll:1.0");
    done(&["publish", &file, &name]).await;
    let simulated = async |policies: &[&str]| {
        let flags = ["simulate", "--rate", "1", "--requests", "20", "--workers", "2", "--json"];
        let mut command = command(&flags);
        command.args(policies.iter().flat_map(|policy| ["--policy", *policy]));
        let output = output(command).await;
        (output.status.code().unwrap(), stdout(&output), stderr(&output))
    };
    let (code, out, error) = simulated(&[&name, &format!("file={file}")]).await;
    assert_eq!(code, 0, "{error}");
    let runs = serde_json::from_str::<Value>(&out).unwrap()["runs"].clone();
    assert_eq!((&runs[0]["policy"], &runs[1]["policy"]), (&json!("toll"), &json!("file")));
    assert_eq!((&runs[0]["answered"], &runs[0]["fallbacks"]), (&json!(20), &json!({})));
    assert_eq!(runs[0]["ttft"], runs[1]["ttft"], "it is the same module");
    let (code, _, error) = simulated(&[&name, &name]).await;
    assert!(code == 2 && error.ends_with(&format!("give one another name: other={name}\n")), "{error}");
    let none = registry.named("team/none:1");
    let (code, _, error) = simulated(&[&none]).await;
    assert!(code == 1 && error.contains(&none) && error.contains("(not_in_registry)"), "{code} {error}");
    let candidate = |index| {
        let url = format!("http://w{index}");
        json!({"index": index, "url": url, "role": "regular", "healthy": true, "admitted": true, "load": index})
    };
    let record = json!({
        "request_id": "r", "time_unix_ms": 1_700_000_000_000_u64, "route": "chat", "policy": "random",
        "decisions": [{
            "chooser": "native", "table_version": 1, "workers": 2, "candidates": [candidate(0), candidate(1)],
            "request": {"prompt_tokens": 120}, "chosen": [0], "cost_ns": 1500,
        }],
        "outcome": {"end": "complete", "status": 200, "worker": "http://w0", "total_ms": 80.0},
    });
    let records = text(&dir.path().join("records.jsonl"));
    std::fs::write(&records, record.to_string()).unwrap();
    let replayed = done(&["replay", &records, &name, "--against", &format!("file={file}")]).await;
    let found =
        (&replayed["modules"][0]["name"], &replayed["reference"]["name"], &replayed["records"]["decisions"]);
    assert_eq!(found, (&json!("toll"), &json!("file"), &json!(1)));
    let error = refused(&["replay", &records, &none], 1).await;
    assert!(error.contains("not_in_registry"), "{error}");
}

#[tokio::test]
async fn registry_that_is_away_is_code_3() {
    let Some(mut registry) = DockerRegistry::start() else { return };
    let name = registry.named("team/p:1");
    registry.stop();
    let error = refused(&["pull", &name], 3).await;
    assert!(error.contains("registry_unreachable") && error.contains("cannot be reached"), "{error}");
}
