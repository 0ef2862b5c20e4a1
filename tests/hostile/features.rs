//! Features of Wasm that plugins do not get.

use sgl_testkit::guest::GuestText;
use sglang_router_rs::policies::PluginError;

use crate::stage::Stage;

async fn refused(guest: GuestText<'_>, parts: &[&str]) -> PluginError {
    Stage::new().await.refuses(guest.wasm(), parts).await
}

#[tokio::test]
async fn two_memories_are_refused() {
    refused(GuestText { fields: "(memory 1)", ..GuestText::default() }, &["it has 2 memories"]).await;
}

#[tokio::test]
async fn no_memory_is_refused() {
    refused(GuestText { memory: "", ..GuestText::default() }, &["it has no memory"]).await;
}

#[tokio::test]
async fn shared_memory_is_refused() {
    let memory = r#"(memory (export "memory") 2 2 shared)"#;
    refused(GuestText { memory, ..GuestText::default() }, &["its memory is shared"]).await;
}

#[tokio::test]
async fn memory_of_64_bits_is_refused() {
    let memory = r#"(memory (export "memory") i64 2)"#;
    refused(GuestText { memory, ..GuestText::default() }, &["its memory is 64-bit"]).await;
}

#[tokio::test]
async fn atomics_are_refused() {
    let bad = "(drop (i32.atomic.rmw.add (i32.const 0) (i32.const 1)))";
    refused(GuestText { bad, ..GuestText::default() }, &["not valid WebAssembly at byte", "threads"]).await;
}

#[tokio::test]
async fn waiting_on_memory_is_refused() {
    // Would block the thread of whoever asks.
    let bad = "(drop (memory.atomic.wait32 (i32.const 0) (i32.const 0) (i64.const -1)))";
    refused(GuestText { bad, ..GuestText::default() }, &["not valid WebAssembly at byte", "threads"]).await;
}

#[tokio::test]
async fn tables_of_64_bits_are_refused() {
    let fields = "(table i64 1 funcref)";
    refused(GuestText { fields, ..GuestText::default() }, &["not valid WebAssembly at byte", "memory64"])
        .await;
}

/// What is kept for a guest by the host's collector, which there is none of: refused before it is
/// compiled.
async fn collected_is_refused(fields: &str) {
    let error =
        refused(GuestText { fields, ..GuestText::default() }, &["not valid WebAssembly at byte"]).await;
    assert!(matches!(error, PluginError::Module(_)), "{error:?}");
}

#[tokio::test]
async fn garbage_collected_types_are_refused() {
    collected_is_refused("(type $s (struct (field i32))) (global (ref null $s) (ref.null $s))").await;
}

#[tokio::test]
async fn references_of_the_host_are_refused() {
    collected_is_refused("(table 1 externref)").await;
}

#[tokio::test]
async fn exceptions_are_refused() {
    collected_is_refused("(tag $t) (func (throw $t))").await;
}

#[tokio::test]
async fn components_are_refused() {
    let wasm = wat::parse_str("(component)").unwrap();
    let parts = ["it is a component", "expected a core WebAssembly binary"];
    Stage::new().await.refuses(wasm, &parts).await;
}
