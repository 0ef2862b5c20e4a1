//! Guests that take all the room they can get.

use sgl_testkit::guest::GuestText;
use sglang_router_rs::policies::{FailureCause, PluginError, PluginOptions, WasmPolicyConfig};

use crate::guest::guest;
use crate::stage::{BAD, GOOD, Stage, limits, options};

/// Grows one page at a time until that is refused.
const GROW_IN_STEPS: &str = "(loop $more (br_if $more (i32.ne (i32.const -1) (memory.grow (i32.const 1)))))";

#[tokio::test]
async fn memory_above_the_limit_at_load_is_refused() {
    let memory = r#"(memory (export "memory") 17)"#;
    let wasm = GuestText { memory, ..GuestText::default() }.wasm();
    let parts = ["it starts with 17 pages of memory (1114112 bytes), above max_memory_bytes = 1048576"];
    Stage::new().await.refuses(wasm, &parts).await;
}

#[tokio::test]
async fn whole_address_space_at_load_is_refused() {
    let memory = r#"(memory (export "memory") 65536 65536)"#;
    let wasm = GuestText { memory, ..GuestText::default() }.wasm();
    let parts = ["65536 pages of memory (4294967296 bytes), above max_memory_bytes"];
    Stage::new().await.refuses(wasm, &parts).await;
}

#[tokio::test]
async fn growth_beyond_the_limit_in_one_step_is_a_memory_failure() {
    let bad = "(if (i32.eq (memory.grow (i32.const 65000)) (i32.const -1)) (then unreachable))";
    Stage::new().await.fails(guest(bad), FailureCause::Memory).await;
}

#[tokio::test]
async fn growth_beyond_the_limit_in_steps_is_a_memory_failure() {
    let bad = format!("{GROW_IN_STEPS} unreachable");
    Stage::new().await.fails(guest(&bad), FailureCause::Memory).await;
}

#[tokio::test]
async fn growth_in_init_up_to_the_limit_leaves_no_room_for_messages_and_is_refused() {
    // It keeps all of it, so its own `alloc` finds none.
    let init = format!("{GROW_IN_STEPS} (global.set $heap (i32.shl (memory.size) (i32.const 16)))");
    let wasm = GuestText { init: &init, ..GuestText::default() }.wasm();
    let parts = ["fails its self-test", "needed more memory than its limit of 1048576 bytes"];
    Stage::new().await.refuses(wasm, &parts).await;
}

#[tokio::test]
async fn memory_that_grows_with_every_request_is_given_back() {
    // Eight pages a request and never a failure: the instance is replaced once it has grown enough.
    let stage = Stage::new().await;
    let options = PluginOptions { recycle_growth_bytes: 400_000, ..options() };
    let hostile = stage.load_with(limits(), options, guest("(drop (memory.grow (i32.const 4)))")).await;
    for _ in 0..10 {
        hostile.ready().await;
        stage.by_plugin(&hostile, BAD, 0).await;
    }
    assert!(hostile.stats().pool.recycled >= 3, "{:?}", hostile.stats().pool);
    assert_eq!(hostile.stats().fallbacks, 0);
    stage.ends(hostile).await;
}

#[tokio::test]
async fn touching_all_of_the_largest_memory_disturbs_nobody() {
    let bad = "(drop (memory.grow (i32.const 1598)))
      (memory.fill (i32.const 65536) (i32.const 1) (i32.const 104792064))";
    let stage = Stage::new().await;
    let config = WasmPolicyConfig { max_memory_bytes: 100 << 20, ..limits() };
    let hostile = stage.load_with(config, options(), guest(bad)).await;
    stage.by_plugin(&hostile, BAD, 0).await;
    hostile.ready().await;
    stage.by_plugin(&hostile, GOOD, 0).await;
    assert_eq!(hostile.stats().pool.recycled, 1, "it is given back at once");
    stage.ends(hostile).await;
}

#[tokio::test]
async fn growth_of_a_table_beyond_the_limit_is_refused_to_the_guest() {
    let bad =
        "(if (i32.eq (i32.const -1) (table.grow $t (ref.null func) (i32.const 20001))) (then unreachable))";
    let wasm = GuestText { fields: "(table $t 0 funcref)", bad, ..GuestText::default() }.wasm();
    Stage::new().await.fails(wasm, FailureCause::Memory).await;
}

#[tokio::test]
async fn table_that_is_too_large_at_load_is_refused() {
    let wasm = GuestText { fields: "(table 10000000 funcref)", ..GuestText::default() }.wasm();
    let error = Stage::new()
        .await
        .refuses(wasm, &["the module does not compile", "exceeds the limit of 20000"])
        .await;
    assert!(matches!(error, PluginError::Engine(_)), "{error:?}");
}

#[tokio::test]
async fn many_tables_are_refused() {
    let wasm = GuestText { fields: &"(table 1 funcref)".repeat(3), ..GuestText::default() }.wasm();
    Stage::new().await.refuses(wasm, &["the module does not compile", "pooling allocator"]).await;
}

#[tokio::test]
async fn globals_without_number_are_refused() {
    let wasm =
        GuestText { fields: &"(global i64 (i64.const 1))".repeat(200_000), ..GuestText::default() }.wasm();
    Stage::new().await.refuses(wasm, &["the module"]).await;
}

#[tokio::test]
async fn data_outside_memory_is_refused_at_instantiation() {
    let wasm =
        GuestText { fields: r#"(data (i32.const 131070) "\01\02\03\04")"#, ..GuestText::default() }.wasm();
    let parts = ["does not start: instantiate trapped", "out of bounds memory access"];
    Stage::new().await.refuses(wasm, &parts).await;
}

#[tokio::test]
async fn elements_outside_their_table_are_refused_at_instantiation() {
    let fields = "(table 1 funcref) (elem (i32.const 4000000000) $select)";
    let wasm = GuestText { fields, ..GuestText::default() }.wasm();
    let parts = ["does not start: instantiate trapped", "out of bounds table access"];
    Stage::new().await.refuses(wasm, &parts).await;
}

#[tokio::test]
async fn reading_and_writing_outside_memory_is_a_trap() {
    let bad = "(i32.store (i32.const -4) (i32.load (i32.const 0x7fffffff)))";
    Stage::new().await.fails(guest(bad), FailureCause::Trap).await;
}
