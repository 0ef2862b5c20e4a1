//! Exports that are not what their names say.

use sgl_testkit::guest::GuestText;
use sgl_testkit::text::module;
use sglang_router_rs::policies::PluginError;

use crate::stage::Stage;

/// The exports of a plugin, each with its right field and one of another signature.
const EXPORTS: [(&str, &str, &str, &str); 4] = [
    (
        "alloc",
        "(func (export \"alloc\") (param i32) (result i32) (i32.const 65536))",
        "(param i64) (result i64)",
        "(i64) -> i64",
    ),
    (
        "dealloc",
        "(func (export \"dealloc\") (param i32 i32))",
        "(param i32 i32) (result i32)",
        "(i32, i32) -> i32",
    ),
    ("init", "(func (export \"init\"))", "(result i64)", "() -> i64"),
    (
        "select_worker",
        "(func (export \"select_worker\") (param i32 i32) (result i64) (i64.const 0))",
        "(param i32 i32) (result i64 i64)",
        "(i32, i32) -> (i64, i64)",
    ),
];

fn others(name: &str) -> String {
    EXPORTS.iter().filter(|(other, ..)| *other != name).map(|(_, field, ..)| *field).collect()
}

#[tokio::test]
async fn needed_export_of_another_signature_is_refused() {
    for (name, _, signature, found) in EXPORTS {
        let bad = format!(r#"(func (export "{name}") {signature} unreachable)"#);
        let wasm = module(&format!(r#"(memory (export "memory") 2) {} {bad}"#, others(name)));
        let parts = [format!("export `{name}` is {found}; expected ")];
        Stage::new().await.refuses(wasm, &[&parts[0]]).await;
    }
}

#[tokio::test]
async fn optional_export_of_another_signature_is_refused() {
    for name in
        ["select_worker_pair", "on_workers", "on_complete", "save_state", "restore_state", "_initialize"]
    {
        let fields = format!(r#"(func (export "{name}") (param v128) (result f32) unreachable)"#);
        let wasm = GuestText { fields: &fields, ..GuestText::default() }.wasm();
        let part = format!("export `{name}` is (v128) -> f32; expected ");
        let error = Stage::new().await.refuses(wasm, &[&part]).await;
        assert!(matches!(error, PluginError::Module(_)), "{error:?}");
    }
}

#[tokio::test]
async fn export_that_is_no_function_is_refused() {
    for (name, ..) in EXPORTS {
        let bad = format!(r#"(global (export "{name}") i32 (i32.const 65536))"#);
        let wasm = module(&format!(r#"(memory (export "memory") 2) {} {bad}"#, others(name)));
        let part = format!("export `{name}` is no function; expected ");
        Stage::new().await.refuses(wasm, &[&part]).await;
    }
}

#[tokio::test]
async fn memory_that_is_a_function_is_refused() {
    let all: String = EXPORTS.iter().map(|(_, field, ..)| *field).collect();
    let wasm = module(&format!(r#"(memory 2) {all} (func (export "memory"))"#));
    Stage::new().await.refuses(wasm, &["its memory is not exported"]).await;
}

#[tokio::test]
async fn export_named_twice_is_refused() {
    // The text format refuses that, too: the second name is changed in the bytes.
    let mut wasm = GuestText { fields: r#"(func (export "inix"))"#, ..GuestText::default() }.wasm();
    let at = wasm.windows(4).position(|bytes| bytes == b"inix").unwrap();
    wasm[at + 3] = b't';
    Stage::new().await.refuses(wasm, &["not valid WebAssembly at byte", "duplicate export name"]).await;
}
