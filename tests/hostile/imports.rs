//! Imports of what no plugin gets.

use sgl_testkit::guest::GuestText;
use sglang_router_rs::policies::PluginError;

use crate::guest::wasi;
use crate::stage::{Stage, allowing};

async fn refused(imports: &str, parts: &[&str]) {
    let wasm = GuestText { imports, ..GuestText::default() }.wasm();
    Stage::new().await.refuses(wasm, parts).await;
}

#[tokio::test]
async fn imports_from_other_modules_are_refused() {
    for module in ["env", "wbg", "wasi_unstable", "wasi:sockets/tcp", "", "SGL", "sgl "] {
        let import = format!(r#"(import "{module}" "f" (func))"#);
        let part = format!("import `{module}.f` is not provided: plugins import from `sgl` and");
        refused(&import, &[&part]).await;
    }
}

#[tokio::test]
async fn imports_of_other_kinds_are_refused() {
    for import in [
        r#"(import "env" "x" (global i32))"#,
        r#"(import "env" "x" (global (mut i64)))"#,
        r#"(import "env" "x" (table 1 funcref))"#,
    ] {
        refused(import, &["import `env.x` is not provided"]).await;
    }
}

#[tokio::test]
async fn host_functions_of_other_kinds_are_refused() {
    refused(r#"(import "sgl" "log" (global i32))"#, &["imports cannot be satisfied"]).await;
    refused(r#"(import "sgl" "log" (func (param i64)))"#, &["imports cannot be satisfied"]).await;
}

#[tokio::test]
async fn host_functions_that_do_not_exist_are_refused() {
    let parts = ["import `sgl.exec` is not provided", "log, counter_add, kv_get, kv_set"];
    refused(r#"(import "sgl" "exec" (func (param i32)))"#, &parts).await;
}

#[tokio::test]
async fn network_is_refused_even_if_it_is_allowed() {
    for (name, params) in [
        ("sock_accept", "i32 i32 i32"),
        ("sock_send", "i32 i32 i32 i32 i32"),
        ("sock_recv", "i32 i32 i32 i32 i32 i32"),
        ("sock_shutdown", "i32 i32"),
    ] {
        let wasm = GuestText { imports: &wasi(&[(name, params)]), ..GuestText::default() }.wasm();
        let part = format!("system call `{name}` is never allowed: plugins have no network");
        Stage::new().await.refuses(wasm.clone(), &[&part]).await;
        let stage = Stage::new().await;
        let parts = ["allowed_syscalls[0]", "plugins have no network"];
        let error = stage.refuses_with(allowing(&[(name, params)]), wasm, &parts).await;
        assert!(matches!(error, PluginError::Config { .. }), "{error:?}");
    }
}

#[tokio::test]
async fn signals_are_refused() {
    let import = wasi(&[("proc_raise", "i32")]);
    refused(&import, &["`proc_raise` is never allowed", "signals to the router"]).await;
}

#[tokio::test]
async fn system_call_that_is_not_allowed_is_refused_by_name() {
    let wasm = GuestText {
        imports: &wasi(&[("path_open", "i32 i32 i32 i32 i32 i64 i64 i32 i32"), ("random_get", "i32 i32")]),
        ..GuestText::default()
    };
    let config = allowing(&[("random_get", "")]);
    let parts = ["not allowed: path_open;", r#"allowed_syscalls = ["path_open", "random_get"]"#];
    Stage::new().await.refuses_with(config, wasm.wasm(), &parts).await;
}

#[tokio::test]
async fn system_call_of_another_signature_is_refused() {
    let wrong = [("random_get", "i64 i64")];
    let wasm = GuestText { imports: &wasi(&wrong), ..GuestText::default() }.wasm();
    Stage::new().await.refuses_with(allowing(&wrong), wasm, &["imports cannot be satisfied"]).await;
}

#[tokio::test]
async fn memory_from_outside_is_refused() {
    let text = GuestText::default().text();
    let own = r#"(memory (export "memory") 2)"#;
    for (module, name) in [("env", "memory"), ("sgl", "memory")] {
        let imported = format!(r#"(memory (export "memory") (import "{module}" "{name}") 2)"#);
        let text = text.replacen("(module", &format!("(module {imported}"), 1).replace(own, "");
        let wasm = wat::parse_str(&text).unwrap();
        Stage::new().await.refuses(wasm, &["it imports its memory"]).await;
    }
}

#[tokio::test]
async fn imports_without_number_are_refused_with_a_short_message() {
    let imports: String = (0..5000).map(|at| format!(r#"(import "env" "f{at}" (func))"#)).collect();
    let wasm = GuestText { imports: &imports, ..GuestText::default() }.wasm();
    let error = Stage::new().await.refuses(wasm, &["import `env.f0` is not provided"]).await;
    assert!(error.to_string().len() < 1000, "{error}");
}
