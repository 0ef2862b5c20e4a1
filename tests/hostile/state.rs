//! State that grows, or that is none.

use sgl_testkit::guest::GuestText;
use sgl_testkit::manifest::{plain_manifest, section};
use sgl_testkit::text::{answer, escaped, module};
use sglang_router_rs::policies::{FailureCause, PluginError, WasmPolicyConfig};

use sgl_policy_abi::{Concurrency, Input};

use crate::stage::{GOOD, Stage, limits, options, says};

/// A row guest that returns, with each decision, a state of 128 KiB more than before, until it is
/// more than the host takes.
fn growing() -> Vec<u8> {
    // {selected_worker: 0, state: {k: bin32}}
    let head = b"\x82\xafselected_worker\x00\xa5state\x81\xa1k\xc6";
    let len = u32::try_from(head.len()).unwrap();
    module(&format!(
        r#"(memory (export "memory") 64)
        (data (i32.const 1024) "{}")
        (global $size (mut i32) (i32.const 0))
        (func (export "alloc") (param i32) (result i32) (i32.const 2097152))
        (func (export "dealloc") (param i32 i32))
        (func (export "init"))
        (func (export "select_worker") (param $ptr i32) (param $len i32) (result i64)
          (global.set $size (i32.add (global.get $size) (i32.const 131072)))
          (i32.store8 (i32.const {}) (i32.shr_u (global.get $size) (i32.const 24)))
          (i32.store8 (i32.const {}) (i32.shr_u (global.get $size) (i32.const 16)))
          (i64.or (i64.const {}) (i64.extend_i32_u (i32.add (global.get $size) (i32.const {})))))"#,
        escaped(head),
        1024 + len,
        1025 + len,
        answer(1024, 0).trim_start_matches("(i64.const ").trim_end_matches(')'),
        len + 4,
    ))
}

#[tokio::test]
async fn state_that_grows_ends_at_the_size_of_an_answer() {
    let stage = Stage::new().await;
    let roomy = WasmPolicyConfig { max_memory_bytes: 8 << 20, ..limits() };
    let hostile = stage.load_with(roomy, options(), growing()).await;
    for _ in 0..24 {
        hostile.ready().await;
        stage.decide(&hostile, GOOD).await;
    }
    let stats = hostile.stats();
    assert!(hostile.failures(FailureCause::Decode) > 0, "{:?}", stats.failures);
    assert_eq!(stats.fallbacks, hostile.failures(FailureCause::Decode), "{:?}", stats.failures);
    assert!(stats.fallbacks < 24, "the rest was decided by the plugin");
    stage.ends(hostile).await;
}

/// A row guest that always gives this answer.
fn row_guest(bytes: &[u8]) -> Vec<u8> {
    module(&format!(
        r#"(memory (export "memory") 4) (data (i32.const 1024) "{}")
        (func (export "alloc") (param i32) (result i32) (i32.const 131072))
        (func (export "dealloc") (param i32 i32))
        (func (export "init"))
        (func (export "select_worker") (param i32 i32) (result i64) {})"#,
        escaped(bytes),
        answer(1024, u32::try_from(bytes.len()).unwrap())
    ))
}

#[tokio::test]
async fn state_that_is_no_map_is_refused() {
    for state in [&b"\x07"[..], b"\x91\x00", b"\xa1x", b"\xc4\x01\x00"] {
        let bytes = [b"\x82\xafselected_worker\x00\xa5state".as_slice(), state].concat();
        let parts = ["fails its self-test: its answer is malformed"];
        Stage::new().await.refuses(row_guest(&bytes), &parts).await;
    }
}

#[tokio::test]
async fn state_that_is_nested_without_end_is_refused() {
    let deep = [b"\x82\xafselected_worker\x00\xa5state\x81\xa1k".as_slice(), &[0x91; 50_000]].concat();
    let parts = ["fails its self-test: its answer is malformed"];
    Stage::new().await.refuses(row_guest(&deep), &parts).await;
}

/// A serial guest with this `save_state`.
fn saving(save: &str) -> Vec<u8> {
    let mut manifest = plain_manifest();
    manifest.inputs = vec![Input::PromptBytes];
    manifest.concurrency = Concurrency::Serial;
    let fields = format!(
        r#"(func (export "save_state") (result i64) {save})
           (func (export "restore_state") (param i32 i32))"#
    );
    GuestText { manifest: section(&manifest), fields: &fields, ..GuestText::default() }.wasm()
}

#[tokio::test]
async fn guest_state_outside_memory_or_too_large_keeps_the_old_generation() {
    let cases = [
        (answer(0x7000_0000, 16), "outside its memory"),
        (answer(0, u32::MAX), "answered 4294967295 bytes; the limit is 1048576"),
        ("unreachable".to_owned(), "trapped"),
    ];
    for (save, part) in cases {
        let stage = Stage::new().await;
        let hostile = stage.load(saving(&save)).await;
        let before = hostile.stats().generation;
        let load = stage.loading(limits(), options(), saving("(i64.const 0)"));
        let error = stage.beside(load).await.unwrap_err();
        assert!(matches!(error, PluginError::HandOver { .. }), "{error}");
        says(&error, &["state of the old generation could not be carried over", part]);
        assert_eq!(hostile.stats().generation, before);
        hostile.ready().await;
        stage.by_plugin(&hostile, GOOD, 0).await;
        stage.ends(hostile).await;
    }
}
