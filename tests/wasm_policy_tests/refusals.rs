//! Bad input of every kind: its own clear error, and the registry is as it was.

use sgl_testkit::manifest::manifest;
use sgl_testkit::plugins::{config, load};
use sgl_testkit::small_guests::{BASICS, guest, guest_choosing, guest_with};
use sgl_testkit::text::{answer, custom_section};
use sglang_router_rs::config::IfLoaded;
use sglang_router_rs::policies::{Load, PluginError, PluginOptions, PolicyFactory, WasmPolicyConfig};

/// Tries to load over a plugin that serves, and returns the error after checking that it still
/// does.
async fn refused_with(config: WasmPolicyConfig, options: PluginOptions, wasm: Vec<u8>) -> PluginError {
    let factory = PolicyFactory::new();
    let before = load(&factory, "test", guest_choosing(0)).await.unwrap();
    let error = factory.load(Load::bytes(config, wasm).with(options)).await.expect_err("it must be refused");
    assert_eq!(factory.list_wasm_plugins(), ["test"]);
    assert_eq!(factory.plugin_infos()[0].generation, before.generation, "{error}");
    assert_eq!(factory.plugin_stats()[0].live_generations, 1, "{error}");
    error
}

async fn refused(wasm: Vec<u8>) -> PluginError {
    refused_with(config("test"), PluginOptions::default(), wasm).await
}

/// The message of a refusal must say all of this.
fn says(error: &PluginError, parts: &[&str]) {
    let message = error.to_string();
    for part in parts {
        assert!(message.contains(part), "{part:?} is not in: {message}");
    }
}

fn module(fields: &str) -> Vec<u8> {
    let text = format!("(module {fields})");
    wat::parse_str(&text).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

const SELECT: &str = r#"(func (export "select_worker") (param i32 i32) (result i64) (i64.const 0))"#;
const INIT: &str = r#"(func (export "init"))"#;
const ALLOC: &str = r#"(func (export "alloc") (param i32) (result i32) (i32.const 8))"#;
const DEALLOC: &str = r#"(func (export "dealloc") (param i32 i32))"#;
const MEMORY: &str = r#"(memory (export "memory") 1)"#;

#[tokio::test]
async fn wrong_path() {
    let mut factory = PolicyFactory::new();
    let mut config = config("test");
    config.module_path = "plugins/nowhere.wasm".into();
    let error = factory.load_wasm_plugin(config).await.unwrap_err();
    assert!(matches!(error, PluginError::Read { .. }));
    says(&error, &["plugins/nowhere.wasm", "cannot be read", "working directory"]);
    assert!(factory.list_wasm_plugins().is_empty());
}

#[tokio::test]
async fn bad_limits() {
    let mut bad = config("test");
    bad.max_execution_time_ms = 60_000;
    bad.max_memory_bytes = 1;
    bad.allowed_syscalls = vec!["sock_send".into(), "proc_raise".into(), "open".into()];
    let error = refused_with(bad, PluginOptions::default(), guest_choosing(0)).await;
    assert!(matches!(&error, PluginError::Config { faults, .. } if faults.len() == 5), "{error}");
    says(&error, &["max_execution_time_ms: found 60000; allowed: 1 to 30000", "no network", "signals"]);
}

#[tokio::test]
async fn reserved_and_malformed_names() {
    let error = refused_with(config("least_load"), PluginOptions::default(), guest_choosing(0)).await;
    assert!(matches!(error, PluginError::ReservedName { .. }));
    says(&error, &["`least_load` is a built-in policy", "round_robin"]);
    let error = refused_with(config("../x\n"), PluginOptions::default(), guest_choosing(0)).await;
    says(&error, &["name: found \"../x\\n\"", "letters"]);
}

#[tokio::test]
async fn duplicate_name_where_replacing_is_not_wanted() {
    let options = PluginOptions { if_loaded: IfLoaded::Refuse, ..PluginOptions::default() };
    let error = refused_with(config("test"), options, guest_choosing(1)).await;
    assert!(matches!(error, PluginError::Duplicate { .. }));
    says(&error, &["a plugin named `test` is loaded", "unload it first"]);
}

#[tokio::test]
async fn digest_that_does_not_match_the_pin() {
    let options = PluginOptions { digest: Some(format!("sha256:{}", "0".repeat(64))), ..Default::default() };
    let error = refused_with(config("test"), options, guest_choosing(1)).await;
    assert!(matches!(error, PluginError::Digest { .. }));
    says(&error, &["sha256:0000", "is required"]);
}

#[tokio::test]
async fn files_that_are_no_modules() {
    for (bytes, part) in [
        (Vec::new(), "the file is empty"),
        (b"#!/bin/sh\n".to_vec(), "it starts with byte 0x23"),
        (b"(module)".to_vec(), "WebAssembly text"),
        (b"\x7fELF\x02\x01\x01\0".to_vec(), "native (ELF) file"),
        (b"\0asm\x0d\0\x01\0".to_vec(), "it is a component"),
        (b"\0asm\x02".to_vec(), "cut short"),
    ] {
        let error = refused(bytes).await;
        says(&error, &[part, "expected a core WebAssembly binary"]);
    }
}

#[tokio::test]
async fn corrupt_module() {
    let mut cut = guest_choosing(0);
    cut.truncate(cut.len() - 5);
    says(&refused(cut).await, &["not valid WebAssembly at byte"]);
    let mut twisted = guest_choosing(0);
    // The id of its first section.
    twisted[8] = 0x7f;
    says(&refused(twisted).await, &["not valid WebAssembly at byte"]);
}

#[tokio::test]
async fn each_missing_export() {
    let all = [
        ("memory", MEMORY),
        ("alloc", ALLOC),
        ("dealloc", DEALLOC),
        ("init", INIT),
        ("select_worker", SELECT),
    ];
    for (missing, _) in all {
        let rest: String = all.iter().filter(|(name, _)| *name != missing).map(|(_, text)| *text).collect();
        let error = refused(module(&rest)).await;
        if missing == "memory" {
            says(&error, &["it has no memory", "exported as `memory`"]);
        } else {
            says(&error, &[&format!("export `{missing}` is missing; expected ("), "the exports are: "]);
        }
    }
}

#[tokio::test]
async fn each_wrong_signature() {
    let right = [("alloc", ALLOC), ("dealloc", DEALLOC), ("init", INIT), ("select_worker", SELECT)];
    let wrong = ["(param i64)", "(param i32)", "(param i32)", "(param i32 i32) (result f32)"];
    let found = ["is (i64)", "is (i32)", "is (i32)", "is (i32, i32) -> f32"];
    for (index, (name, _)) in right.iter().enumerate() {
        let others: String = right.iter().filter(|(other, _)| other != name).map(|(_, text)| *text).collect();
        let bad = format!(r#"(func (export "{name}") {} (unreachable))"#, wrong[index]);
        let error = refused(module(&format!("{MEMORY}{others}{bad}"))).await;
        says(&error, &[&format!("export `{name}` {}; expected (", found[index])]);
    }
    for optional in ["select_worker_pair", "on_workers", "on_complete", "save_state", "restore_state"] {
        let bad = format!(r#"(func (export "{optional}") (param f64))"#);
        let error = refused(guest_with(
            &bad.replace("(func", "(func (type $t)").replace("(type $t)", ""),
            "(i64.const 0)",
        ));
        says(&error.await, &[&format!("export `{optional}` is (f64)")]);
    }
    let global =
        format!(r#"{MEMORY}{ALLOC}{DEALLOC}{INIT}(global (export "select_worker") i32 (i32.const 0))"#);
    says(&refused(module(&global)).await, &["export `select_worker` is no function"]);
}

#[tokio::test]
async fn memories_of_other_kinds() {
    let rest = format!("{ALLOC}{DEALLOC}{INIT}{SELECT}");
    for (memory, part) in [
        (r#"(memory (export "memory") i64 1)"#, "64-bit"),
        (r#"(memory (export "memory") 1 2 shared)"#, "shared"),
        (r#"(memory (export "memory") 1) (memory 1)"#, "2 memories"),
        (r#"(import "env" "memory" (memory 1)) (export "memory" (memory 0))"#, "imports its memory"),
        ("(memory 1)", "not exported"),
    ] {
        let fields =
            if memory.contains("import") { format!("{memory}{rest}") } else { format!("{rest}{memory}") };
        says(&refused(module(&fields)).await, &[part, "exactly one 32-bit memory"]);
    }
    let large = format!(r#"(memory (export "memory") 17){rest}"#);
    let error = refused(module(&large)).await;
    says(&error, &["17 pages of memory (1114112 bytes), above max_memory_bytes = 1048576", "stack-size"]);
}

#[tokio::test]
async fn refused_imports() {
    let import = |module: &str, name: &str| format!(r#"(import "{module}" "{name}" (func))"#);
    let error = refused(guest_with(&import("env", "puts"), "(i64.const 0)")).await;
    says(&error, &["import `env.puts` is not provided", "`sgl` and `wasi_snapshot_preview1` only"]);
    let error = refused(guest_with(&import("sgl", "fork"), "(i64.const 0)")).await;
    says(&error, &["import `sgl.fork` is not provided", "kv_get"]);
    let error = refused(guest_with(&import("wasi_snapshot_preview1", "sock_send"), "(i64.const 0)")).await;
    says(&error, &["system call `sock_send` is never allowed", "no network"]);
    let error = refused(guest_with(&import("wasi_snapshot_preview1", "exec"), "(i64.const 0)")).await;
    says(&error, &["wasi_snapshot_preview1.exec", "no such function"]);
}

#[tokio::test]
async fn system_calls_that_are_not_allowed_are_listed_completely() {
    let fields = r#"
      (import "wasi_snapshot_preview1" "random_get" (func (param i32 i32) (result i32)))
      (import "wasi_snapshot_preview1" "clock_time_get" (func (param i32 i64 i32) (result i32)))"#;
    let mut allowing_one = config("test");
    allowing_one.allowed_syscalls = vec!["random_get".into()];
    let error =
        refused_with(allowing_one, PluginOptions::default(), guest_with(fields, "(i64.const 0)")).await;
    says(&error, &["not allowed: clock_time_get;", r#"allowed_syscalls = ["clock_time_get", "random_get"]"#]);
}

#[tokio::test]
async fn import_of_another_signature() {
    let fields = r#"(import "sgl" "log" (func (param i64)))"#;
    says(&refused(guest_with(fields, "(i64.const 0)")).await, &["imports cannot be satisfied"]);
}

#[tokio::test]
async fn manifests_that_cannot_be_used() {
    let broken = custom_section("sgl.policy", b"\xc1");
    says(&refused(guest_with(&broken, "(i64.const 0)")).await, &["its manifest", "sgl.policy"]);
    let good = manifest(&[]);
    let newer = good.replace(r"\a3\61\62\69\01", r"\a3\61\62\69\63");
    assert_ne!(good, newer, "the manifest has the key `abi`");
    says(&refused(guest_with(&newer, "(i64.const 0)")).await, &["its manifest", "99"]);
}

#[tokio::test]
async fn init_that_traps_or_refuses() {
    let traps = module(&format!(r#"{BASICS}{SELECT}(func (export "init") (unreachable))"#));
    says(&refused(traps).await, &["does not start: init trapped"]);
    let mut answer_bytes = Vec::from(*b"\x81\xa5error\xa7no luck");
    answer_bytes.shrink_to_fit();
    let data = format!(r#"(data (i32.const 32) "{}")"#, sgl_testkit::text::escaped(&answer_bytes));
    let refuses = module(&format!(
        r#"{BASICS}{SELECT}{data}(func (export "init") (param i32 i32) (result i64) {})"#,
        answer(32, u32::try_from(answer_bytes.len()).unwrap())
    ));
    says(&refused(refuses).await, &["does not start: init refused: no luck"]);
}

#[tokio::test]
async fn start_function_that_traps() {
    let traps = module(&format!("{BASICS}{SELECT}{INIT}(func $start (unreachable)) (start $start)"));
    says(&refused(traps).await, &["does not start: instantiate trapped"]);
}

#[tokio::test]
async fn self_test_that_fails() {
    says(&refused(guest("(unreachable)")).await, &["fails its self-test: trapped"]);
    let wrong = guest_choosing(99);
    says(&refused(wrong).await, &["fails its self-test: it chose worker 99 of 4"]);
    let outside = guest(&answer(0x00ff_0000, 8));
    says(&refused(outside).await, &["fails its self-test", "outside its memory"]);
    let malformed = guest_with(r#"(data (i32.const 16) "\c1")"#, &answer(16, 1));
    says(&refused(malformed).await, &["fails its self-test: its answer is malformed"]);
}

#[tokio::test]
async fn memory_that_cannot_grow_enough_for_the_message() {
    let greedy = format!(
        r#"(module (memory (export "memory") 1) {DEALLOC}{INIT}{SELECT}
           (func (export "alloc") (param i32) (result i32)
             (if (i32.eq (memory.grow (i32.const 100)) (i32.const -1)) (then (unreachable)))
             (i32.const 0)))"#
    );
    says(
        &refused(wat::parse_str(greedy).unwrap()).await,
        &["needed more memory than its limit of 1048576 bytes"],
    );
}
