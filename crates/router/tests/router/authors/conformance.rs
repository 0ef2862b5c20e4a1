//! `plugin test --conformance`: every module of this repository passes, and faults are found.

use serde_json::Value;
use sgl_testkit::modules;
use sgl_testkit::small_guests::{guest_choosing, guest_with};

use crate::authors::commands::{Desk, plugin, plugin_json, shipped};

#[tokio::test]
async fn every_shipped_plugin_passes_the_conformance_kit() {
    for name in modules::shipped() {
        let (code, found) = plugin_json(&["test", "--conformance", &shipped(&name)]).await;
        let failed: Vec<&Value> =
            found["cases"].as_array().unwrap().iter().filter(|case| case["result"] == "failed").collect();
        assert!(code == 0 && failed.is_empty(), "{name}: {failed:#?}");
        assert!(found["passed"].as_u64().unwrap() >= 30, "{name}: {}", found["passed"]);
    }
}

/// The cases that a module fails, and what was printed.
async fn failed(module: &str, more: &[&str]) -> Vec<String> {
    let (code, found) = plugin_json(&[&["test", "--conformance", module], more].concat()).await;
    let cases = found["cases"].as_array().expect("cases");
    let failed = cases.iter().filter(|case| case["result"] == "failed");
    let names: Vec<String> = failed.map(|case| case["case"].as_str().unwrap().to_owned()).collect();
    assert_eq!(code, i32::from(!names.is_empty()));
    names
}

#[tokio::test]
async fn guest_that_looks_at_nothing_is_told_what_to_do() {
    let desk = Desk::new();
    let module = desk.file("blind.wasm", guest_choosing(0));
    let found = failed(&module, &[]).await;
    for case in [
        "fleet/nobody-there",
        "fleet/nobody-healthy",
        "fleet/only-one-healthy",
        "fleet/tried-before",
        "fleet/all-tried",
        "fleet/other-model",
        "fleet/ten-thousand",
        "table/changes",
        "table/one-by-one",
        "pairs/legs",
    ] {
        assert!(found.iter().any(|name| name == case), "{case} is not in {found:?}");
    }
    assert!(
        !found.iter().any(|name| name == "fleet/self-test" || name == "request/huge-prompt"),
        "{found:?}"
    );
    let (code, out, error) = plugin(&["test", "--conformance", &module, "--filter", "only-one"]).await;
    assert!(code == 1 && error.contains("1 of 1 cases failed"), "{error}");
    assert!(out.contains("to do: Choose only workers whose bit of `healthy` is set"), "{out}");
    let (code, _, error) = plugin(&["test", "--conformance", &module, "--filter", "nosuch"]).await;
    assert!(code == 2 && error.contains("no case has \"nosuch\" in its name"), "{error}");
}

#[tokio::test]
async fn choices_that_no_seed_repeats_are_found() {
    let desk = Desk::new();
    let import =
        "(import \"wasi_snapshot_preview1\" \"random_get\" (func $random (param i32 i32) (result i32)))";
    // One of eight, by the system's chance: the array of the choice alone is a positive integer.
    let body = "(drop (call $random (i32.const 64) (i32.const 1)))
                (i32.store8 (i32.const 64) (i32.and (i32.load8_u (i32.const 64)) (i32.const 7)))
                (i64.or (i64.shl (i64.const 64) (i64.const 32)) (i64.const 1))";
    let module = desk.file("chance.wasm", guest_with(import, body));
    let found = failed(&module, &["--allow-syscall", "random_get", "--filter", "deterministic"]).await;
    assert_eq!(found, ["instances/deterministic"]);
    let steady = desk.file("steady.wasm", guest_choosing(3));
    assert_eq!(failed(&steady, &["--filter", "deterministic"]).await, [""; 0]);
}
