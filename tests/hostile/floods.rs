//! Guests that use what they are given without end.

use std::sync::Arc;

use sgl_testkit::guest::GuestText;
use sgl_testkit::text::{HOST, answer};
use sglang_router_rs::policies::{Chooser, FailureCause, WasmPolicyConfig};

use crate::guest::wasi;
use crate::stage::{BAD, GOOD, Stage, allowing, limits, options};

/// This often, with `$i` counting down.
fn times(count: u32, instructions: &str) -> String {
    format!(
        "(local.set $i (i32.const {count}))
         (loop $again {instructions}
           (local.set $i (i32.sub (local.get $i) (i32.const 1)))
           (br_if $again (local.get $i)))"
    )
}

fn hosted(bad: &str) -> Vec<u8> {
    GuestText { imports: HOST, bad, ..GuestText::default() }.wasm()
}

/// Answers the number that the instructions leave, below 4.
fn answering_number(instructions: &str) -> String {
    format!("(i32.store8 (i32.const 40) {instructions}) (return {})", answer(40, 1))
}

#[tokio::test]
async fn log_flood_is_cut_and_counted() {
    let stage = Stage::new().await;
    let hostile =
        stage.load(hosted(&times(5000, "(call $log (i32.const 0) (i32.const 0) (i32.const 4096))"))).await;
    stage.by_plugin(&hostile, BAD, 0).await;
    // Twenty lines a second are passed on.
    assert!(hostile.stats().log_suppressed >= 4000, "{}", hostile.stats().log_suppressed);
    stage.ends(hostile).await;
}

#[tokio::test]
async fn log_of_four_gibibytes_is_nothing() {
    let log = "(call $log (i32.const 2) (i32.const 0) (i32.const -1))
      (call $log (i32.const 2) (i32.const -1) (i32.const -1))
      (call $log (i32.const -2147483648) (i32.const 131071) (i32.const 4096))";
    let stage = Stage::new().await;
    let hostile = stage.load(hosted(&format!("{log} (return {})", answer(17, 1)))).await;
    stage.by_plugin(&hostile, BAD, 1).await;
    stage.ends(hostile).await;
}

#[tokio::test]
async fn log_without_end_is_a_timeout() {
    let bad = "(loop $forever (call $log (i32.const 2) (i32.const 0) (i32.const 4096)) (br $forever))";
    Stage::new().await.times_out(hosted(bad)).await;
}

#[tokio::test]
async fn counter_flood_is_a_timeout_and_reaches_nobody_else() {
    let bad =
        "(loop $forever (drop (call $count (i32.const 0) (i64.const 0x7fffffffffffffff))) (br $forever))";
    Stage::new().await.times_out(hosted(bad)).await;
}

#[tokio::test]
async fn counters_that_do_not_exist_are_an_error_of_the_guest() {
    let none = |slot: &str| {
        format!("(i64.eq (call $count (i32.const {slot}) (i64.const 1)) (i64.const -9223372036854775808))")
    };
    let sum = format!("(i32.add (i32.add {} {}) {})", none("64"), none("-1"), none("0x7fffffff"));
    let stage = Stage::new().await;
    let hostile = stage.load(hosted(&answering_number(&sum))).await;
    stage.by_plugin(&hostile, BAD, 3).await;
    stage.ends(hostile).await;
}

#[tokio::test]
async fn map_flood_fills_the_plugins_own_map_and_no_more() {
    // Values of 60,000 bytes under ever new keys: answers 1 once the map says that it is full (-4).
    let set = "(i32.store (i32.const 48) (local.get $i))
      (local.set $j (call $kv_set (i32.const 48) (i32.const 4) (i32.const 0) (i32.const 60000)))";
    let bad = format!("{} {}", times(100, set), answering_number("(i32.eq (local.get $j) (i32.const -4))"));
    let stage = Stage::new().await;
    let hostile = stage.load(hosted(&bad)).await;
    stage.by_plugin(&hostile, BAD, 1).await;
    stage.by_plugin(&hostile, GOOD, 0).await;
    // Another plugin has a map of its own.
    let set_one = answering_number(
        "(i32.eqz (call $kv_set (i32.const 48) (i32.const 4) (i32.const 0) (i32.const 60000)))",
    );
    let second = WasmPolicyConfig { name: "second".into(), ..limits() };
    let second = stage.load_with(second, options(), hosted(&set_one)).await;
    stage.by_plugin(&second, BAD, 1).await;
    assert!(stage.factory.unload_wasm_plugin("second"));
    stage.ends(hostile).await;
}

#[tokio::test]
async fn map_of_tiny_entries_is_full_at_a_number_of_entries() {
    // 200,000 entries of four bytes would cost the host some fifty bytes each.
    let set = "(i32.store (i32.const 48) (local.get $i))
      (local.set $j (i32.add (local.get $j)
        (i32.eqz (call $kv_set (i32.const 48) (i32.const 4) (i32.const 0) (i32.const 0)))))";
    let few = answering_number("(i32.lt_u (local.get $j) (i32.const 20000))");
    let stage = Stage::new().await;
    let config = WasmPolicyConfig { max_execution_time_ms: 10_000, ..limits() };
    let hostile = stage.load_with(config, options(), hosted(&format!("{} {few}", times(200_000, set)))).await;
    stage.by_plugin(&hostile, BAD, 1).await;
    stage.ends(hostile).await;
}

#[tokio::test]
async fn map_functions_check_every_pointer() {
    // Each is -5, a bad argument, or -3, a value that is too large.
    let calls = [
        ("(call $kv_set (i32.const -1) (i32.const 8) (i32.const 0) (i32.const 8))", -5),
        ("(call $kv_set (i32.const 0) (i32.const 8) (i32.const 131070) (i32.const 8))", -5),
        ("(call $kv_set (i32.const 0) (i32.const -1) (i32.const 0) (i32.const 8))", -5),
        ("(call $kv_set (i32.const 0) (i32.const 8) (i32.const 0) (i32.const -1))", -3),
        ("(call $kv_set (i32.const 0) (i32.const 8) (i32.const 0) (i32.const 65537))", -3),
        ("(call $kv_get (i32.const -1) (i32.const 8) (i32.const 0) (i32.const 8))", -5),
        ("(call $kv_get (i32.const 0) (i32.const -1) (i32.const 0) (i32.const 8))", -5),
    ];
    let check =
        |(call, code): (&str, i32)| format!("(if (i32.ne {call} (i32.const {code})) (then unreachable))");
    // A value that is there, read to a place that is not.
    let read = "(drop (call $kv_set (i32.const 0) (i32.const 8) (i32.const 0) (i32.const 8)))
      (if (i32.ne (i32.const -5) (call $kv_get (i32.const 0) (i32.const 8) (i32.const 131070) (i32.const 8)))
        (then unreachable))
      (if (i32.ne (i32.const -5) (call $kv_get (i32.const 0) (i32.const 8) (i32.const -1) (i32.const -1)))
        (then unreachable))";
    let bad: String = calls
        .into_iter()
        .map(check)
        .chain([read.to_owned(), format!("(return {})", answer(17, 1))])
        .collect();
    let stage = Stage::new().await;
    let hostile = stage.load(hosted(&bad)).await;
    stage.by_plugin(&hostile, BAD, 1).await;
    stage.ends(hostile).await;
}

#[tokio::test]
async fn output_flood_is_cut_and_counted() {
    const WRITE: [(&str, &str); 1] = [("fd_write", "i32 i32 i32 i32")];
    let write = "(i32.store (i32.const 48) (i32.const 0)) (i32.store (i32.const 52) (i32.const 60000))
      (drop (call $fd_write (i32.const 2) (i32.const 48) (i32.const 1) (i32.const 56)))";
    let wasm = GuestText { imports: &wasi(&WRITE), bad: &times(20, write), ..GuestText::default() }.wasm();
    let stage = Stage::new().await;
    let hostile = stage.load_with(allowing(&WRITE), options(), wasm).await;
    stage.by_plugin(&hostile, BAD, 0).await;
    sgl_testkit::waits::eventually("most of it is suppressed", || hostile.stats().log_suppressed > 200).await;
    stage.ends(hostile).await;
}

#[tokio::test]
async fn randomness_by_the_megabyte_is_a_trap() {
    // The host would hold as much again, outside the guest's limit, and nothing interrupts it.
    const RANDOM: [(&str, &str); 1] = [("random_get", "i32 i32")];
    let bad = "(drop (call $random_get (i32.const 0) (i32.const 131072)))";
    let wasm = GuestText { imports: &wasi(&RANDOM), bad, ..GuestText::default() }.wasm();
    let stage = Stage::new().await;
    let hostile = stage.load_with(allowing(&RANDOM), options(), wasm).await;
    stage.falls_back(&hostile, FailureCause::Trap).await;
    stage.ends(hostile).await;
}

#[tokio::test]
async fn sleeping_beyond_the_budget_is_a_timeout() {
    const POLL: [(&str, &str); 1] = [("poll_oneoff", "i32 i32 i32 i32")];
    let bad = "(i32.store (i32.const 2064) (i32.const 1))
      (i64.store (i32.const 2072) (i64.const 3600000000000))
      (drop (call $poll_oneoff (i32.const 2048) (i32.const 2200) (i32.const 1) (i32.const 2300)))";
    let wasm = GuestText { imports: &wasi(&POLL), bad, ..GuestText::default() }.wasm();
    let stage = Stage::new().await;
    let config = WasmPolicyConfig { max_execution_time_ms: 20, ..allowing(&POLL) };
    let hostile = stage.load_with(config, options(), wasm).await;
    stage.falls_back(&hostile, FailureCause::Timeout).await;
    stage.ends(hostile).await;
}

#[tokio::test]
async fn more_callers_than_may_wait_are_served_by_the_fallback_at_once() {
    let wasm = GuestText { bad: sgl_testkit::guest::FOREVER, ..GuestText::default() }.wasm();
    let stage = Stage::new().await;
    let mut options = options();
    (options.max_instances, options.max_waiting) = (1, 2);
    let hostile = stage.load_with(crate::stage::hasty(), options, wasm).await;
    let callers: Vec<_> = (0..12)
        .map(|_| {
            let (policy, table) = (hostile.policy.clone(), Arc::clone(&stage.table));
            tokio::spawn(async move { policy.decide_async(&table, &sgl_testkit::plugins::asking(BAD)).await })
        })
        .collect();
    for caller in callers {
        let decided = stage.beside(caller).await.unwrap().unwrap();
        assert!(matches!(decided.chooser(), Chooser::Fallback { .. }));
    }
    assert!(hostile.failures(FailureCause::QueueFull) > 0, "{:?}", hostile.stats().failures);
    stage.ends(hostile).await;
}
