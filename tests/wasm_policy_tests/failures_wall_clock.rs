//! Guests that fail: each is stopped, reported under its own cause, and its request is served.
//!
//! These run against the real clock. Bounds are an order of magnitude above what is expected, so
//! that a loaded machine does not fail them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use sgl_policy_abi::Input;
use sgl_testkit::commanded::{WAIT_AT_GATE, commanded, on, prompt};
use sgl_testkit::fleets::{fleet, slice};
use sgl_testkit::manifest::manifest;
use sgl_testkit::plugins::{asking, config, failures, loaded_with, stats};
use sgl_testkit::small_guests::{BASICS, guest_choosing};
use sgl_testkit::text::answer;
use sgl_testkit::waits::{eventually, poll_then_drop};
use sglang_router_rs::config::{BreakerOptions, FailurePolicy, LaneOption};
use sglang_router_rs::policies::{
    Chooser, DecideError, Decision, FailureCause, Load, LoadBalancingPolicy, PluginOptions, PolicyHandle,
    SelectWorkerInfo, WasmPolicyConfig,
};

const BUDGET: Duration = Duration::from_millis(20);

/// Far above budget + 2 ticks.
const LATE: Duration = Duration::from_millis(600);

const FOREVER: &str = "(loop $forever (br $forever))";

fn limits() -> WasmPolicyConfig {
    WasmPolicyConfig { max_execution_time_ms: 20, ..config("test") }
}

/// One instance, and no breaker in the way.
fn options() -> PluginOptions {
    let breaker = BreakerOptions { failures: 0, max_lost_percent: 0, ..BreakerOptions::default() };
    PluginOptions { min_warm: 1, max_instances: 1, breaker, ..PluginOptions::default() }
}

fn is_fallback(decision: &Decision, cause: FailureCause) {
    assert_eq!(decision.chooser(), Chooser::Fallback { cause });
}

#[tokio::test]
async fn endless_loop_is_stopped_at_its_budget_and_the_fallback_decides() {
    let (factory, policy) = loaded_with(limits(), options(), commanded("", &on(1, FOREVER))).await;
    let (table, text) = (fleet(2).table(), prompt(1));
    let workers = slice(2);
    let start = Instant::now();
    is_fallback(&policy.decide_async(&table, &asking(&text)).await.unwrap(), FailureCause::Timeout);
    assert!(start.elapsed() >= BUDGET, "{:?}", start.elapsed());
    assert!(start.elapsed() < LATE, "{:?}", start.elapsed());
    let start = Instant::now();
    is_fallback(&policy.decide(&table, &asking(&text)).unwrap(), FailureCause::Timeout);
    assert!(start.elapsed() >= BUDGET, "{:?}", start.elapsed());
    assert!(start.elapsed() < LATE, "{:?}", start.elapsed());
    assert!(policy.select_worker(&workers, &asking(&text)).is_some());
    is_fallback(&policy.select_worker_async(&workers, &asking(&text)).await.unwrap(), FailureCause::Timeout);
    assert_eq!(failures(&factory, "timeout"), 4);
    assert_eq!(stats(&factory).fallbacks, 4);
    eventually("its instance is replaced", || stats(&factory).pool.idle == 1).await;
    assert_eq!(stats(&factory).pool.discarded, 4);
    assert!(matches!(policy.decide(&table, &asking("")).unwrap().chooser(), Chooser::Plugin { .. }));
}

#[tokio::test]
async fn other_tasks_of_the_same_thread_go_on_while_a_guest_loops() {
    let mut limits = limits();
    limits.max_execution_time_ms = 200;
    let (_factory, policy) = loaded_with(limits, options(), commanded("", &on(1, FOREVER))).await;
    let turns = Arc::new(AtomicU64::new(0));
    let counting = Arc::clone(&turns);
    let other = tokio::spawn(async move {
        loop {
            counting.fetch_add(1, Ordering::Relaxed);
            tokio::task::yield_now().await;
        }
    });
    let (table, text) = (fleet(2).table(), prompt(1));
    is_fallback(&policy.decide_async(&table, &asking(&text)).await.unwrap(), FailureCause::Timeout);
    // Once a tick is 200 times.
    assert!(turns.load(Ordering::Relaxed) >= 10, "{turns:?}");
    other.abort();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_plugin_does_not_notice_a_guest_that_loops() {
    let (factory, policy) = loaded_with(limits(), options(), commanded("", &on(1, FOREVER))).await;
    let mut other = config("other");
    other.max_execution_time_ms = 30_000;
    factory.load(Load::bytes(other, guest_choosing(1))).await.unwrap();
    let other = factory.create_by_name("other").unwrap();
    let done = Arc::new(AtomicBool::new(false));
    let (stop, table) = (Arc::clone(&done), fleet(3).table());
    let decisions = tokio::spawn(async move {
        let mut count = 0;
        while !stop.load(Ordering::Relaxed) || count == 0 {
            let decision = other.decide_async(&table, &SelectWorkerInfo::default()).await.unwrap();
            assert!(matches!(decision.chooser(), Chooser::Plugin { .. }), "{decision:?}");
            count += 1;
            tokio::task::yield_now().await;
        }
    });
    let (table, text) = (fleet(2).table(), prompt(1));
    for _ in 0..10 {
        is_fallback(&policy.decide_async(&table, &asking(&text)).await.unwrap(), FailureCause::Timeout);
    }
    done.store(true, Ordering::Relaxed);
    decisions.await.unwrap();
    let other = factory.plugin_stats().into_iter().find(|stats| stats.name == "other").unwrap();
    assert!(other.failures.iter().all(|(_, count)| *count == 0), "{:?}", other.failures);
}

/// A table guest: loops in `on_workers`, or in `alloc`, once there are more than a few workers.
fn loops_at(on_workers: &str, alloc: &str) -> Vec<u8> {
    let basics = BASICS
        .replace("(local $at i32)", &format!("(local $at i32) {alloc}"))
        .replace("(global $heap", "(global $room (mut i32) (i32.const 0)) (global $heap");
    let text = format!(
        r#"(module {} {basics} (func (export "init"))
        (func (export "on_workers") (param $ptr i32) (param $len i32) {on_workers})
        (data (i32.const 16) "\00")
        (func (export "select_worker") (param i32 i32) (result i64) {}))"#,
        manifest(&[Input::Load]),
        answer(16, 1)
    );
    wat::parse_str(&text).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

#[tokio::test]
async fn endless_loops_in_the_other_exports_are_timeouts_too() {
    let in_table =
        loops_at(&format!("(if (i32.gt_u (local.get $len) (i32.const 1000)) (then {FOREVER}))"), "");
    let in_alloc =
        loops_at("", &format!("(if (i32.gt_u (local.get $size) (i32.const 4096)) (then {FOREVER}))"));
    for wasm in [in_table, in_alloc] {
        let (factory, policy) = loaded_with(limits(), options(), wasm).await;
        let (small, large) = (fleet(3).table(), fleet(200).table());
        let info = SelectWorkerInfo::default();
        policy.decide(&small, &info).unwrap();
        is_fallback(&policy.decide_async(&large, &info).await.unwrap(), FailureCause::Timeout);
        is_fallback(&policy.decide(&large, &info).unwrap(), FailureCause::Timeout);
        assert_eq!(failures(&factory, "timeout"), 2);
        eventually("its instance is replaced", || stats(&factory).pool.idle == 1).await;
        assert!(matches!(policy.decide(&small, &info).unwrap().chooser(), Chooser::Plugin { .. }));
    }
}

#[tokio::test]
async fn plugin_that_never_starts_is_a_load_error_and_harms_nobody() {
    let select = r#"(func (export "select_worker") (param i32 i32) (result i64) (i64.const 0))"#;
    let in_init = format!(r#"(module {BASICS} {select} (func (export "init") {FOREVER}))"#);
    let in_start = format!(
        r#"(module {BASICS} {select} (func (export "init")) (func $start {FOREVER}) (start $start))"#
    );
    let (factory, policy) = loaded_with(limits(), options(), guest_choosing(1)).await;
    for (step, text) in [("init", in_init), ("instantiate", in_start)] {
        let table = fleet(2).table();
        let load = factory.load(Load::bytes(limits(), wat::parse_str(&text).unwrap()).with(options()));
        let deciding = async {
            for _ in 0..100 {
                let decision = policy.decide_async(&table, &SelectWorkerInfo::default()).await.unwrap();
                assert!(matches!(decision.chooser(), Chooser::Plugin { .. }), "{decision:?}");
                tokio::task::yield_now().await;
            }
        };
        let (error, ()) = tokio::join!(load, deciding);
        let error = error.unwrap_err().to_string();
        assert!(error.contains(&format!("{step} stopped: the budget of 1s is spent")), "{error}");
    }
}

#[tokio::test]
async fn trap_costs_the_instance_and_the_next_decision_works() {
    let (factory, policy) = loaded_with(limits(), options(), commanded("", &on(1, "unreachable"))).await;
    let (table, text) = (fleet(2).table(), prompt(1));
    for round in 1..=5 {
        is_fallback(&policy.decide_async(&table, &asking(&text)).await.unwrap(), FailureCause::Trap);
        assert_eq!(stats(&factory).pool.discarded, round);
        eventually("its instance is replaced", || stats(&factory).pool.idle == 1).await;
        let decision = policy.decide_async(&table, &asking("")).await.unwrap();
        assert!(matches!(decision.chooser(), Chooser::Plugin { .. }), "{decision:?}");
    }
    assert_eq!(failures(&factory, "trap"), 5);
}

#[tokio::test]
async fn memory_beyond_the_limit_is_a_memory_failure() {
    let grow = "(if (i32.eq (memory.grow (i32.const 1000)) (i32.const -1)) (then unreachable))";
    let (factory, policy) = loaded_with(limits(), options(), commanded("", &on(1, grow))).await;
    let (table, text) = (fleet(2).table(), prompt(1));
    is_fallback(&policy.decide(&table, &asking(&text)).unwrap(), FailureCause::Memory);
    eventually("its instance is replaced", || stats(&factory).pool.idle == 1).await;
    is_fallback(&policy.decide_async(&table, &asking(&text)).await.unwrap(), FailureCause::Memory);
    assert_eq!(failures(&factory, "memory"), 2);
    // A prompt that is larger than the guest's memory is none: the guest sees the beginning of it.
    let (factory, policy) = loaded_with(limits(), options(), guest_choosing(1)).await;
    let decision = policy.decide(&table, &asking(&"x".repeat(5_000_000))).unwrap();
    assert!(matches!(decision.chooser(), Chooser::Plugin { .. }), "{decision:?}");
    assert_eq!(failures(&factory, "memory"), 0);
}

#[tokio::test]
async fn answers_outside_memory_or_too_large_are_decode_failures() {
    let cases = [
        on(1, &format!("(return {})", answer(0xffff_fff0, 8))),
        on(2, &format!("(return {})", answer(0xffff_ffff, 0xffff_ffff))),
        on(3, &format!("(return {})", answer(16, (1 << 20) + 1))),
        on(4, r#"(i32.store8 (i32.const 16) (i32.const 0xc1)) (return (i64.const 0x1000000001))"#),
    ];
    let (factory, policy) = loaded_with(limits(), options(), commanded("", &cases.concat())).await;
    let table = fleet(2).table();
    for command in 1..=4 {
        eventually("an instance is ready", || stats(&factory).pool.idle == 1).await;
        let text = prompt(command);
        is_fallback(&policy.decide(&table, &asking(&text)).unwrap(), FailureCause::Decode);
    }
    assert_eq!(failures(&factory, "decode"), 4);
}

#[tokio::test]
async fn rejecting_plugin_refuses_the_request_and_says_why() {
    let options = PluginOptions { on_failure: FailurePolicy::Reject, ..options() };
    let (factory, policy) = loaded_with(limits(), options, commanded("", &on(1, "unreachable"))).await;
    let (table, text) = (fleet(2).table(), prompt(1));
    let error = policy.decide_async(&table, &asking(&text)).await.unwrap_err();
    assert_eq!(error, DecideError::Rejected { cause: FailureCause::Trap });
    eventually("its instance is replaced", || stats(&factory).pool.idle == 1).await;
    assert_eq!(policy.decide(&table, &asking(&text)).unwrap_err(), error);
    eventually("its instance is replaced", || stats(&factory).pool.idle == 1).await;
    assert_eq!(policy.select_worker(&slice(2), &asking(&text)), None);
    assert_eq!(stats(&factory).fallbacks, 0);
}

#[tokio::test]
async fn breaker_opens_after_failures_in_a_row_and_a_probe_closes_it() {
    let breaker = BreakerOptions { failures: 3, max_lost_percent: 0, backoff_ms: 1, max_backoff_ms: 50 };
    let options = PluginOptions { breaker, ..options() };
    let wasm = commanded("", &on(1, "unreachable"));
    let (factory, policy) = loaded_with(limits(), options, wasm).await;
    let (table, traps) = (fleet(2).table(), prompt(1));
    for round in 1..=3 {
        assert!(!stats(&factory).breaker_open, "{round}");
        eventually("an instance is ready", || stats(&factory).pool.idle == 1).await;
        is_fallback(&policy.decide(&table, &asking(&traps)).unwrap(), FailureCause::Trap);
    }
    assert!(stats(&factory).breaker_open);
    // It stays open until a probe, whenever that is due, finds the plugin well again.
    eventually("an instance is ready", || stats(&factory).pool.idle == 1).await;
    eventually("a probe succeeds", || {
        let decision = policy.decide(&table, &asking("")).unwrap();
        match decision.chooser() {
            Chooser::Plugin { .. } => true,
            other => {
                assert_eq!(other, Chooser::Fallback { cause: FailureCause::BreakerOpen });
                false
            }
        }
    })
    .await;
    assert!(!stats(&factory).breaker_open);
    assert_eq!(failures(&factory, "trap"), 3);
}

#[tokio::test]
async fn replacing_a_plugin_closes_its_breaker() {
    let breaker =
        BreakerOptions { failures: 1, max_lost_percent: 0, backoff_ms: 30_000, max_backoff_ms: 30_000 };
    let options = PluginOptions { breaker, ..options() };
    let wasm = commanded("", &on(1, "unreachable"));
    let (factory, policy) = loaded_with(limits(), options.clone(), wasm.clone()).await;
    let (table, traps) = (fleet(2).table(), prompt(1));
    is_fallback(&policy.decide(&table, &asking(&traps)).unwrap(), FailureCause::Trap);
    is_fallback(&policy.decide(&table, &asking("")).unwrap(), FailureCause::BreakerOpen);
    factory.load(Load::bytes(limits(), wasm).with(options)).await.unwrap();
    assert!(matches!(policy.decide(&table, &asking("")).unwrap().chooser(), Chooser::Plugin { .. }));
}

fn adaptive() -> PluginOptions {
    PluginOptions { lane: LaneOption::Adaptive, min_warm: 2, max_instances: 2, ..options() }
}

/// True if a call with this command gives the caller's thread back before it ends.
async fn yields(policy: &PolicyHandle, command: usize) -> bool {
    let (table, text) = (fleet(2).table(), prompt(command));
    !poll_then_drop(policy.decide_async(&table, &asking(&text)), 1).await
}

#[tokio::test]
async fn adaptive_plugin_moves_to_a_fiber_after_a_call_that_takes_long() {
    let arrive = "(drop (call $count (i32.const 1) (i64.const 1)))";
    let open_gate = "(drop (call $count (i32.const 0) (i64.const 1)))";
    let cases = [on(1, &format!("{arrive}{WAIT_AT_GATE}")), on(2, FOREVER), on(3, open_gate)].concat();
    let limits = WasmPolicyConfig { max_execution_time_ms: 10_000, ..config("test") };
    let (factory, policy) = loaded_with(limits, adaptive(), commanded("", &cases)).await;
    let timer = WasmPolicyConfig { max_execution_time_ms: 5, ..config("timer") };
    factory.load(Load::bytes(timer, commanded("", &on(2, FOREVER))).with(options())).await.unwrap();
    let timer = factory.create_by_name("timer").unwrap();
    let table = fleet(2).table();
    std::thread::scope(|scope| {
        let long = scope.spawn(|| {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            runtime.block_on(async { policy.decide_async(&table, &asking("x")).await.unwrap().chooser() })
        });
        let arrived = prompt(64 + 1);
        while policy.decide(&table, &asking(&arrived)).unwrap().index() == 0 {
            std::thread::yield_now();
        }
        // Another guest runs for five ticks meanwhile; then the gate opens.
        is_fallback(&timer.decide(&table, &asking("xx")).unwrap(), FailureCause::Timeout);
        policy.decide(&table, &asking("xxx")).unwrap();
        assert!(matches!(long.join().unwrap(), Chooser::Plugin { .. }));
    });
    assert!(yields(&policy, 2).await, "the next call must not keep the thread");
}

#[tokio::test]
async fn adaptive_plugin_moves_to_a_fiber_after_a_call_that_never_ends() {
    let (factory, policy) = loaded_with(limits(), adaptive(), commanded("", &on(1, FOREVER))).await;
    assert!(!yields(&policy, 1).await, "the first call runs on the caller's stack");
    assert_eq!(failures(&factory, "timeout"), 1);
    eventually("its instance is replaced", || stats(&factory).pool.idle == 2).await;
    assert!(yields(&policy, 1).await, "the second call must not keep the thread");
}
