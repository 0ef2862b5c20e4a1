//! Guests that go too deep, and ways back into a guest.

use sgl_testkit::guest::GuestText;
use sgl_testkit::text::{HOST, module};
use sglang_router_rs::policies::FailureCause;

use crate::guest::wasi;
use crate::stage::{Stage, allowing};

const DOWN: &str = "(func $down (param i64) (result i64)
  (i64.add (local.get 0) (call $down (i64.add (local.get 0) (i64.const 1)))))";

#[tokio::test]
async fn deep_recursion_is_a_trap() {
    let wasm = GuestText { fields: DOWN, bad: "(drop (call $down (i64.const 0)))", ..GuestText::default() };
    Stage::new().await.fails(wasm.wasm(), FailureCause::Trap).await;
}

#[tokio::test]
async fn deep_recursion_through_a_table_with_large_frames_is_a_trap() {
    let locals = "(local i64 i64 i64 i64 i64 i64 i64 i64 i64 i64 i64 i64 i64 i64 i64 i64)";
    let fields = format!(
        "(type $same (func (param i64) (result i64))) (table 1 funcref) (elem (i32.const 0) $down)
         (func $down (param i64) (result i64) {locals}
           (local.set 5 (i64.mul (local.get 0) (i64.const 3)))
           (local.set 9 (i64.xor (local.get 5) (local.get 0)))
           (i64.add (local.get 9)
             (call_indirect (type $same) (i64.add (local.get 5) (i64.const 1)) (i32.const 0))))"
    );
    let wasm =
        GuestText { fields: &fields, bad: "(drop (call $down (i64.const 0)))", ..GuestText::default() };
    Stage::new().await.fails(wasm.wasm(), FailureCause::Trap).await;
}

#[tokio::test]
async fn deep_recursion_in_init_is_refused() {
    let wasm = GuestText { fields: DOWN, init: "(drop (call $down (i64.const 0)))", ..GuestText::default() };
    let parts = ["does not start: init trapped", "call stack exhausted"];
    Stage::new().await.refuses(wasm.wasm(), &parts).await;
}

#[tokio::test]
async fn deep_recursion_in_the_start_function_is_refused() {
    let fields = format!("{DOWN} (func $start (drop (call $down (i64.const 0)))) (start $start)");
    let wasm = GuestText { fields: &fields, ..GuestText::default() };
    let parts = ["does not start: instantiate trapped", "call stack exhausted"];
    Stage::new().await.refuses(wasm.wasm(), &parts).await;
}

#[tokio::test]
async fn guest_that_calls_its_own_exports_is_only_recursion() {
    // No host function calls into a guest: the only way back in is the guest's own.
    let bad = "(drop (call $select (call $alloc (i32.const 16)) (local.get $len)))
      (call $init) (call $dealloc (i32.const 0) (i32.const 0))
      (drop (call $select (local.get $ptr) (local.get $len)))";
    Stage::new().await.fails(GuestText { bad, ..GuestText::default() }.wasm(), FailureCause::Trap).await;
}

#[tokio::test]
async fn host_function_as_an_export_is_a_trap_at_load() {
    // The host would call itself, with no guest in between that has a memory.
    const RANDOM: [(&str, &str); 1] = [("random_get", "i32 i32")];
    let wasm = module(&format!(
        r#"{} (memory (export "memory") 2) (func (export "init"))
           (func (export "alloc") (param i32) (result i32) (i32.const 65536))
           (func (export "dealloc") (param i32 i32))
           (export "select_worker" (func $random_get))"#,
        wasi(&RANDOM)
    ));
    let parts = ["fails its self-test: trapped", "memory"];
    Stage::new().await.refuses_with(allowing(&RANDOM), wasm, &parts).await;
}

#[tokio::test]
async fn host_function_as_an_export_of_another_signature_is_refused() {
    let fields = "(export \"on_workers\" (func $log))";
    let wasm = GuestText { imports: HOST, fields, ..GuestText::default() }.wasm();
    let parts = ["export `on_workers` is (i32, i32, i32); expected (i32, i32)"];
    Stage::new().await.refuses(wasm, &parts).await;
}
