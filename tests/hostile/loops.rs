//! Guests that do not come back.

use std::sync::Arc;
use std::time::{Duration, Instant};

use sgl_policy_abi::{Concurrency, Input};
use sgl_testkit::guest::{FOREVER, GuestText};
use sgl_testkit::manifest::{manifest, plain_manifest, section};
use sgl_testkit::plugins::asking;
use sgl_testkit::text::answer;
use sgl_testkit::waits::eventually;
use sglang_router_rs::core::{Fleet, WorkerRole, WorkerSpec};
use sglang_router_rs::policies::{Chooser, FailureCause, PluginError};

use crate::guest::{guest, wasi};
use crate::stage::{GOOD, Stage, allowing, hasty, options, says};

/// Far above budget + 2 ticks + the longest thing that cannot be interrupted.
const LATE: Duration = Duration::from_secs(10);

#[tokio::test]
async fn select_worker_that_loops_is_a_timeout() {
    let start = Instant::now();
    Stage::new().await.times_out(guest(FOREVER)).await;
    assert!(start.elapsed() < LATE, "{:?}", start.elapsed());
}

#[tokio::test]
async fn start_function_that_loops_is_refused() {
    let fields = format!("(func $start {FOREVER}) (start $start)");
    let wasm = GuestText { fields: &fields, ..GuestText::default() }.wasm();
    let parts = ["does not start", "instantiate stopped: the budget of 1s is spent"];
    let error = Stage::new().await.refuses(wasm, &parts).await;
    assert!(matches!(error, PluginError::Start { .. }));
}

#[tokio::test]
async fn init_that_loops_is_refused() {
    let wasm = GuestText { init: FOREVER, ..GuestText::default() }.wasm();
    let parts = ["does not start", "init stopped: the budget of 1s is spent"];
    Stage::new().await.refuses(wasm, &parts).await;
}

#[tokio::test]
async fn constructor_that_loops_is_refused() {
    let fields = format!(r#"(func (export "_initialize") {FOREVER})"#);
    let wasm = GuestText { fields: &fields, ..GuestText::default() }.wasm();
    Stage::new().await.refuses(wasm, &["does not start", "_initialize stopped"]).await;
}

#[tokio::test]
async fn alloc_that_loops_is_refused() {
    let alloc = format!("{FOREVER} (i32.const 0)");
    let wasm = GuestText { alloc: &alloc, ..GuestText::default() }.wasm();
    let parts = ["fails its self-test", "stopped: the budget of 1s is spent"];
    let error = Stage::new().await.refuses(wasm, &parts).await;
    assert!(matches!(error, PluginError::SelfTest { .. }));
}

#[tokio::test]
async fn on_workers_that_loops_is_refused() {
    let fields = format!(r#"(func (export "on_workers") (param i32 i32) {FOREVER})"#);
    let wasm = GuestText { fields: &fields, ..GuestText::default() }.wasm();
    Stage::new().await.refuses(wasm, &["fails its self-test", "the budget of 1s is spent"]).await;
}

#[tokio::test]
async fn dealloc_that_loops_is_a_timeout_of_the_request_that_needs_more_room() {
    let wasm = GuestText {
        manifest: manifest(&[Input::RequestText, Input::PromptBytes]),
        dealloc: FOREVER,
        ..GuestText::default()
    };
    let stage = Stage::new().await;
    let hostile = stage.load_with(hasty(), options(), wasm.wasm()).await;
    stage.by_plugin(&hostile, GOOD, 0).await;
    let large = "x".repeat(10_000);
    let decided = stage.decide(&hostile, &large).await;
    assert_eq!(decided.chooser(), Chooser::Fallback { cause: FailureCause::Timeout });
    assert_eq!(hostile.failures(FailureCause::Timeout), 1);
    stage.ends(hostile).await;
}

#[tokio::test]
async fn tail_calls_without_end_are_a_timeout() {
    let fields = "(func $again (return_call $again))";
    let wasm = GuestText { fields, bad: "(call $again)", ..GuestText::default() }.wasm();
    Stage::new().await.times_out(wasm).await;
}

#[tokio::test]
async fn bulk_fills_without_end_are_a_timeout() {
    // Each fill is one instruction that nothing interrupts; between them is the only chance.
    let bad = "(loop $forever
      (memory.fill (i32.const 65536) (i32.const 7) (i32.sub (i32.shl (memory.size) (i32.const 16)) (i32.const 65536)))
      (br $forever))";
    let start = Instant::now();
    Stage::new().await.times_out(guest(bad)).await;
    assert!(start.elapsed() < LATE, "{:?}", start.elapsed());
}

#[tokio::test]
async fn system_calls_without_end_are_a_timeout() {
    const CLOCK: [(&str, &str); 1] = [("clock_time_get", "i32 i64 i32")];
    let bad = "(loop $forever
      (drop (call $clock_time_get (i32.const 1) (i64.const 0) (i32.const 2048)))
      (br $forever))";
    let wasm = GuestText { imports: &wasi(&CLOCK), bad, ..GuestText::default() }.wasm();
    let stage = Stage::new().await;
    let mut limits = allowing(&CLOCK);
    limits.max_execution_time_ms = 20;
    let hostile = stage.load_with(limits, options(), wasm).await;
    stage.falls_back(&hostile, FailureCause::Timeout).await;
    stage.ends(hostile).await;
}

#[tokio::test]
async fn select_worker_pair_that_loops_is_a_timeout_and_the_fallback_pairs() {
    // The host's self-test asks for a pair, too: only the real table, which is version 1 of a
    // fleet of two workers, is the bad one.
    let fields = format!(
        r#"(global $asked (mut i32) (i32.const 0))
        (func (export "select_worker_pair") (param $ptr i32) (param $len i32) (result i64)
          (if (i32.eq (i32.const 1) (i32.load8_u (i32.sub (i32.add (local.get $ptr) (local.get $len)) (i32.const 1))))
            (then {FOREVER}))
          {})
        (data (i32.const 1024) "\92\00\01")"#,
        answer(1024, 3)
    );
    let wasm = GuestText { fields: &fields, ..GuestText::default() }.wasm();
    let stage = Stage::new().await;
    let hostile = stage.load_with(hasty(), options(), wasm).await;
    let fleet = Fleet::new();
    for (url, role) in [("http://p", WorkerRole::Prefill), ("http://d", WorkerRole::Decode)] {
        fleet.add(WorkerSpec { role, ..WorkerSpec::new(url) }, true).unwrap();
    }
    let table = fleet.table();
    let info = asking("x");
    let pair = stage.beside(hostile.policy.decide_pair_async(&table, &info)).await.expect("a pair");
    assert_eq!((pair.prefill.index(), pair.decode.index()), (0, 1));
    assert_eq!(hostile.failures(FailureCause::Timeout), 1);
    stage.ends(hostile).await;
}

#[tokio::test]
async fn on_complete_that_loops_costs_its_instance_and_no_decision() {
    let fields = format!(r#"(func (export "on_complete") (param i32 i32) {FOREVER})"#);
    let wasm = GuestText { fields: &fields, ..GuestText::default() }.wasm();
    let stage = Stage::new().await;
    let hostile = stage.load_with(hasty(), options(), wasm).await;
    let decided = stage.decide(&hostile, GOOD).await;
    hostile.complete(&decided);
    let gone =
        async { eventually("its instance is discarded", || hostile.stats().pool.discarded == 1).await };
    stage.beside(gone).await;
    hostile.ready().await;
    stage.by_plugin(&hostile, GOOD, 0).await;
    stage.ends(hostile).await;
}

/// A serial guest with these bodies of the exports that carry state over.
fn carrying(save: &str, restore: &str) -> Vec<u8> {
    let mut manifest = plain_manifest();
    manifest.inputs = vec![Input::PromptBytes];
    manifest.concurrency = Concurrency::Serial;
    let fields = format!(
        r#"(func (export "save_state") (result i64) {save})
           (func (export "restore_state") (param i32 i32) {restore})"#
    );
    GuestText { manifest: section(&manifest), fields: &fields, ..GuestText::default() }.wasm()
}

#[tokio::test]
async fn state_that_is_never_handed_over_leaves_the_old_generation_in_place() {
    let save_nothing = "(i64.const 0)";
    let loops = format!("{FOREVER} (i64.const 0)");
    for (old, new) in [
        (carrying(&loops, ""), carrying(save_nothing, "")),
        (carrying(save_nothing, ""), carrying(save_nothing, FOREVER)),
    ] {
        let stage = Stage::new().await;
        let hostile = stage.load(old).await;
        let before = hostile.stats().generation;
        let load = stage.loading(hasty(), options(), new);
        let error = stage.beside(load).await.unwrap_err();
        assert!(matches!(error, PluginError::HandOver { .. }), "{error}");
        says(&error, &["state of the old generation could not be carried over", "the budget of 1s is spent"]);
        assert_eq!(hostile.stats().generation, before);
        hostile.ready().await;
        stage.by_plugin(&hostile, GOOD, 0).await;
        stage.ends(hostile).await;
    }
}

#[tokio::test]
async fn many_callers_of_a_guest_that_loops_all_get_a_worker() {
    let stage = Stage::new().await;
    let hostile = stage.load_with(hasty(), options(), guest(FOREVER)).await;
    let callers: Vec<_> = (0..16)
        .map(|_| {
            let (policy, table) = (hostile.policy.clone(), Arc::clone(&stage.table));
            tokio::spawn(async move { policy.decide_async(&table, &asking("x")).await })
        })
        .collect();
    for caller in callers {
        let decided = stage.beside(caller).await.unwrap().unwrap();
        let Chooser::Fallback { cause } = decided.chooser() else { panic!("{decided:?}") };
        // Who waits for too long while both instances are being made anew finds none at all.
        let known = [FailureCause::Timeout, FailureCause::Saturated, FailureCause::Unavailable];
        assert!(known.contains(&cause), "{cause}");
    }
    assert_eq!(hostile.stats().pool.waiting, 0);
    stage.ends(hostile).await;
}
