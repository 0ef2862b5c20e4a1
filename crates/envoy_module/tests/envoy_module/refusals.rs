//! What the module does not take, Envoy does not start with, and says why.

use sgl_testkit::modules::plugin;
use sglang_router_rs::policies::trust::{SecretKey, signing};
use tempfile::TempDir;

use crate::rig::{Setup, config, example, validate};

fn refused(settings: &str, wasm: &[u8], variables: &[(&str, &str)]) -> Option<String> {
    let (is_taken, said) = validated(settings, wasm, variables)?;
    assert!(!is_taken, "{settings}: {said}");
    Some(said)
}

fn validated(settings: &str, wasm: &[u8], variables: &[(&str, &str)]) -> Option<(bool, String)> {
    let dir = TempDir::new().expect("a directory");
    std::fs::write(dir.path().join("plugin.wasm"), wasm).expect("a file");
    std::fs::write(dir.path().join("workers.yaml"), "resources: []").expect("a file");
    let config = config(Setup { settings, ..Setup::default() }, dir.path());
    validate(&config, variables)
}

#[test]
fn example_is_taken() {
    let dir = TempDir::new().expect("a directory");
    let Some((is_taken, said)) = validate(&example(dir.path(), &plugin("least_connections")), &[]) else {
        return;
    };
    assert!(is_taken, "{said}");
    assert!(said.contains("ABI version v0.2.0 matched"), "{said}");
}

#[test]
fn faults_of_the_configuration_are_named() {
    let wasm = plugin("least_connections");
    let cases = [
        (", modul: 5", "unknown field `modul`"),
        (", labels: gpu", "labels"),
        (", check_interval_ms: 7", "check_interval_ms is 7; it may be 100 to 3600000, or 0 for never"),
        (", max_execution_time_ms: 0", "max_execution_time_ms"),
        (", options: { fallback: nobody }", "nobody"),
        (", config: { no_such_key: 1 }", "no_such_key"),
    ];
    for (settings, expected) in cases {
        let Some(said) = refused(settings, &wasm, &[]) else { return };
        assert!(said.contains("sgl_policy: policy \"workers\""), "{settings}: {said}");
        assert!(said.contains(expected), "{settings}: {said}");
    }
}

#[test]
fn faults_of_the_module_are_named() {
    for wasm in [&b"nonsense"[..], b""] {
        let Some(said) = refused("", wasm, &[]) else { return };
        assert!(said.contains("sgl_policy: policy \"workers\""), "{said}");
    }
}

#[test]
fn module_must_be_signed_as_the_rules_say() {
    let wasm = plugin("least_connections");
    let [key, other] = [1, 2].map(|seed| SecretKey::from_seed(&[seed; 32], ""));
    let dir = TempDir::new().expect("a directory");
    let file = dir.path().join("key.pub");
    std::fs::write(&file, key.public().to_pem().expect("a key")).expect("a file");
    let settings = format!(", trust: [{{ keys: [{}] }}]", file.display());
    for wasm in [wasm.clone(), signing::embed(&wasm, &other).expect("a module")] {
        let Some(said) = refused(&settings, &wasm, &[]) else { return };
        assert!(said.contains("sgl_policy: policy \"workers\": trust: "), "{said}");
    }
    let signed = signing::embed(&wasm, &key).expect("a module");
    let Some((is_taken, said)) = validated(&settings, &signed, &[]) else { return };
    assert!(is_taken, "{said}");
    let Some(said) = refused(", trust: [{ keys: [/nowhere.pub] }]", &signed, &[]) else { return };
    assert!(said.contains("/nowhere.pub"), "{said}");
}

#[test]
fn other_envoy_is_refused() {
    let wasm = plugin("least_connections");
    let Some(said) = refused("", &wasm, &[("SGL_POLICY_ENVOY_VERSION", "1.41.0")]) else { return };
    assert!(said.contains("made for Envoy 1.40.x, and this is Envoy 1.41.0"), "{said}");
}
