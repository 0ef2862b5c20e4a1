//! `alloc` and `dealloc` that lie.

use sgl_policy_abi::Input;
use sgl_testkit::guest::GuestText;
use sgl_testkit::manifest::manifest;
use sgl_testkit::text::module;
use sglang_router_rs::policies::{Chooser, FailureCause, PluginError};

use crate::stage::{BAD, GOOD, Stage};

/// A guest with this `alloc` that is sent the text of the request.
fn allocating(alloc: &str) -> Vec<u8> {
    let inputs = [Input::RequestText, Input::PromptBytes];
    GuestText { manifest: manifest(&inputs), alloc, ..GuestText::default() }.wasm()
}

#[tokio::test]
async fn alloc_of_nothing_is_refused() {
    let parts = ["fails its self-test", "needed more memory than its limit"];
    Stage::new().await.refuses(allocating("(i32.const 0)"), &parts).await;
}

#[tokio::test]
async fn alloc_outside_memory_is_refused() {
    let parts = ["fails its self-test", "returned 4096 bytes at 0x20000, outside its memory of 131072 bytes"];
    Stage::new().await.refuses(allocating("(i32.const 131072)"), &parts).await;
}

#[tokio::test]
async fn alloc_across_the_end_of_memory_is_refused() {
    let parts = ["fails its self-test", "at 0x1f001, outside its memory"];
    Stage::new().await.refuses(allocating("(i32.const 0x1f001)"), &parts).await;
}

#[tokio::test]
async fn alloc_at_the_end_of_the_address_space_is_refused() {
    let parts = ["fails its self-test", "at 0xffffffff, outside its memory"];
    Stage::new().await.refuses(allocating("(i32.const -1)"), &parts).await;
}

#[tokio::test]
async fn unaligned_buffer_works() {
    let stage = Stage::new().await;
    let hostile = stage.load(allocating("(i32.const 65537)")).await;
    stage.by_plugin(&hostile, BAD, 0).await;
    stage.ends(hostile).await;
}

#[tokio::test]
async fn same_buffer_for_every_size_is_checked_each_time() {
    // Room for 61,440 bytes: the next larger request ends outside memory.
    let stage = Stage::new().await;
    let hostile = stage.load(allocating("(i32.const 69632)")).await;
    for (size, fits) in [(3000, true), (20_000, true), (40_000, false), (500_000, false), (100, true)] {
        hostile.ready().await;
        let decided = stage.decide(&hostile, &"x".repeat(size)).await.chooser();
        match decided {
            Chooser::Plugin { .. } => assert!(fits, "{size}"),
            other => assert_eq!((other, fits), (Chooser::Fallback { cause: FailureCause::Decode }, false)),
        }
    }
    assert_eq!(hostile.failures(FailureCause::Decode), 2);
    stage.ends(hostile).await;
}

#[tokio::test]
async fn buffer_over_the_guests_own_data_harms_only_the_guest() {
    // The message overwrites the choices: what it answers then is a text, or no such worker.
    let stage = Stage::new().await;
    let error = stage.refuses(allocating("(i32.const 8)"), &["fails its self-test"]).await;
    assert!(matches!(error, PluginError::SelfTest { .. }), "{error}");
}

#[tokio::test]
async fn alloc_that_grows_for_ever_ends_at_the_memory_limit() {
    let alloc = "(local.set $at (i32.shl (memory.size) (i32.const 16)))
      (if (i32.eq (i32.const -1) (memory.grow (i32.const 4))) (then (return (i32.const 0))))
      (local.get $at)";
    let stage = Stage::new().await;
    let hostile = stage.load(allocating(alloc)).await;
    let mut refused = 0;
    for doubling in 12..20 {
        hostile.ready().await;
        if let Chooser::Fallback { .. } = stage.decide(&hostile, &"x".repeat(1 << doubling)).await.chooser() {
            refused += 1;
        }
    }
    assert!(refused >= 2, "{refused}");
    let causes = [FailureCause::Memory, FailureCause::Decode].map(|cause| hostile.failures(cause));
    assert_eq!(causes.iter().sum::<u64>(), refused);
    hostile.ready().await;
    stage.by_plugin(&hostile, GOOD, 0).await;
    stage.ends(hostile).await;
}

#[tokio::test]
async fn dealloc_that_traps_is_a_trap_of_the_request_that_needs_more_room() {
    let inputs = [Input::RequestText, Input::PromptBytes];
    let wasm =
        GuestText { manifest: manifest(&inputs), dealloc: "unreachable", ..GuestText::default() }.wasm();
    let stage = Stage::new().await;
    let hostile = stage.load(wasm).await;
    let decided = stage.decide(&hostile, &"x".repeat(9000)).await;
    assert_eq!(decided.chooser(), Chooser::Fallback { cause: FailureCause::Trap });
    assert_eq!(hostile.failures(FailureCause::Trap), 1);
    hostile.ready().await;
    stage.by_plugin(&hostile, GOOD, 0).await;
    stage.ends(hostile).await;
}

/// A guest of the plain C form: `select_worker` gives a pointer to a length and the bytes.
fn prefixed(bad: &str, dealloc: &str) -> Vec<u8> {
    module(&format!(
        r#"{} (memory (export "memory") 2) (func (export "init"))
        (data (i32.const 16) "\01\00\00\00\00")
        (data (i32.const 32) "\ff\ff\ff\ff")
        (data (i32.const 48) "\ff\ff\ff\7f")
        (func (export "alloc") (param i32) (result i32) (i32.const 65536))
        (func (export "dealloc") (param $at i32) (param $size i32) {dealloc})
        (func (export "select_worker") (param $ptr i32) (param $len i32) (result i32)
          (if (i32.eq (i32.const 1) (i32.load8_u (i32.sub (i32.add (local.get $ptr) (local.get $len)) (i32.const 1))))
            (then (return (i32.const {bad}))))
          (i32.const 16))"#,
        manifest(&[Input::PromptBytes])
    ))
}

#[tokio::test]
async fn length_before_the_answer_that_claims_four_gibibytes_is_a_decode_failure() {
    Stage::new().await.fails(prefixed("32", ""), FailureCause::Decode).await;
}

#[tokio::test]
async fn length_before_the_answer_that_claims_two_gibibytes_is_a_decode_failure() {
    Stage::new().await.fails(prefixed("48", ""), FailureCause::Decode).await;
}

#[tokio::test]
async fn length_before_the_answer_across_the_end_of_memory_is_a_decode_failure() {
    Stage::new().await.fails(prefixed("131070", ""), FailureCause::Decode).await;
    Stage::new().await.fails(prefixed("-2", ""), FailureCause::Decode).await;
}

#[tokio::test]
async fn dealloc_of_an_answer_that_traps_is_a_trap() {
    // Address 64 holds the length 0, an answer of nothing; only that one is given back badly.
    let dealloc = "(if (i32.eq (local.get $at) (i32.const 64)) (then unreachable))";
    Stage::new().await.fails(prefixed("64", dealloc), FailureCause::Trap).await;
}
