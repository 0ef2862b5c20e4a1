//! The row form: plain modules without a manifest, both result forms, and `state`.

use std::sync::Arc;

use sgl_testkit::commanded::ECHO;
use sgl_testkit::fleets::fleet;
use sgl_testkit::plugins::{asking, config, failures, loaded, loaded_with, stats};
use sgl_testkit::small_guests::{BASICS, guest, guest_with};
use sgl_testkit::text::{HOST, answer};
use sglang_router_rs::core::InFlight;
use sglang_router_rs::policies::{
    Chooser, DecideError, Load, PluginOptions, PolicyFactory, PolicyHandle, SelectWorkerInfo,
    WasmPolicyConfig,
};
use sglang_router_rs::types::WorkerSet;

use crate::capture::{catch_logs, take_echo, take_lines};
use crate::counting::{counted, counts_always, counts_sometimes};
use crate::decoder::Value;

const CALLERS: usize = 64;
const ROUNDS: usize = 100;

/// A budget that no guest here uses up, however busy the machine is.
fn patient(name: &str) -> WasmPolicyConfig {
    WasmPolicyConfig { max_execution_time_ms: 30_000, ..config(name) }
}

/// The callers take turns, and wait for longer than all their turns take.
fn pool_of_four() -> PluginOptions {
    PluginOptions { min_warm: 1, max_instances: 4, max_wait_ms: 60_000, ..PluginOptions::default() }
}

async fn plugin(name: &str, wasm: Vec<u8>) -> (PolicyFactory, PolicyHandle) {
    catch_logs();
    let options = PluginOptions { min_warm: 4, ..pool_of_four() };
    let loaded = loaded_with(patient(name), options, wasm).await;
    take_lines(name);
    loaded
}

fn no_failures(factory: &PolicyFactory) {
    let stats = stats(factory);
    assert!(stats.failures.iter().all(|(_, count)| *count == 0), "{:?}", stats.failures);
    assert_eq!(stats.fallbacks, 0);
}

#[tokio::test]
async fn module_without_a_manifest_gets_the_row_form() {
    catch_logs();
    let body = format!("(call $echo (i32.const 83) (local.get $ptr) (local.get $len)) {}", answer(16, 1));
    let fields = format!(r#"{HOST}{ECHO}(data (i32.const 16) "\01")"#);
    let mut config = config("plain-rows");
    config.config.insert("weights".into(), serde_json::json!({"a": [1, -2, 0.5], "b": null}));
    config.config.insert("on".into(), serde_json::json!(true));
    let wasm = guest_with(&fields, &body);
    let (_factory, policy) = loaded_with(config, PluginOptions::default(), wasm).await;
    take_lines("plain-rows");
    assert!(policy.needs().text);
    let table = fleet(4).table();
    table.workers()[0].set_healthy(false);
    let _held = InFlight::on_fleet(&table.workers()[3]);
    let excluded: WorkerSet = [2].into_iter().collect();
    let info = SelectWorkerInfo { excluded: Some(&excluded), ..asking("grüß dich") };
    assert_eq!(policy.decide_async(&table, &info).await.unwrap().index(), 1);

    let message = Value::decode(&take_echo("plain-rows", 'S'));
    let rows = message.get("workers").items();
    let flags: Vec<&Value> = rows.iter().map(|row| row.get("healthy")).collect();
    let [yes, no] = [Value::Bool(true), Value::Bool(false)];
    assert_eq!(flags, [&no, &yes, &no, &yes], "0 is unhealthy, 2 was tried");
    let loads: Vec<i128> = rows.iter().map(|row| row.get("load").int()).collect();
    assert_eq!(loads, [0, 0, 0, 1]);
    assert_eq!(rows[3].get("url"), &Value::str("http://w3"));
    assert_eq!(message.get("request_text"), &Value::str("grüß dich"));
    assert_eq!(message.get("state"), &Value::Map(vec![]));
    let config = message.get("config");
    assert_eq!(config.get("on"), &yes);
    assert_eq!(config.get("weights").get("b"), &Value::Nil);
    let numbers = config.get("weights").get("a").items();
    assert_eq!(numbers, [Value::Int(1), Value::Int(-2), Value::Float(0.5)]);
}

#[tokio::test]
async fn length_prefixed_result_is_given_back_with_its_whole_size() {
    // Each answer lies 16 bytes further on; `dealloc` traps unless it gets the last one back, and
    // the answer is how often it did. Host buffers lie above.
    let text = format!(
        r#"(module {HOST} {memory}
        (global $last (mut i32) (i32.const 1024)) (global $given (mut i32) (i32.const 0))
        (func (export "init"))
        (func (export "dealloc") (param $ptr i32) (param $size i32)
          (if (i32.lt_u (local.get $ptr) (i32.const 65536)) (then
            (if (i32.ne (local.get $ptr) (global.get $last)) (then unreachable))
            (if (i32.ne (local.get $size) (i32.const 5)) (then unreachable))
            (global.set $given (i32.add (global.get $given) (i32.const 1))))))
        (func (export "select_worker") (param i32 i32) (result i32)
          (global.set $last (i32.add (global.get $last) (i32.const 16)))
          (i32.store (global.get $last) (i32.const 1))
          (i32.store8 (i32.add (global.get $last) (i32.const 4)) (global.get $given))
          (global.get $last)))"#,
        memory = BASICS.replace(r#"(func (export "dealloc") (param i32 i32))"#, ""),
    );
    let options = PluginOptions { min_warm: 1, max_instances: 1, self_test: false, ..Default::default() };
    let (factory, policy) = loaded_with(config("test"), options, wat::parse_str(text).unwrap()).await;
    let table = fleet(100).table();
    let warm = policy.decide(&table, &SelectWorkerInfo::default()).unwrap().index();
    for round in 1..=40 {
        let info = SelectWorkerInfo::default();
        assert_eq!(policy.decide(&table, &info).unwrap().index(), warm + 2 * round - 1);
        assert_eq!(policy.decide_async(&table, &info).await.unwrap().index(), warm + 2 * round);
    }
    no_failures(&factory);
}

#[tokio::test]
async fn length_prefix_that_lies_is_a_decode_failure() {
    for prefix in [0xffff_ffff_u32, 2_000_000, 131_072] {
        let text = format!(
            r#"(module {BASICS} (func (export "init"))
            (func (export "select_worker") (param i32 i32) (result i32)
              (i32.store (i32.const 1024) (i32.const {}))
              (i32.const 1024)))"#,
            prefix.cast_signed()
        );
        let options = PluginOptions { self_test: false, min_warm: 1, ..PluginOptions::default() };
        let factory = PolicyFactory::new();
        let wasm = wat::parse_str(text).unwrap();
        let error = factory.load(Load::bytes(config("test"), wasm).with(options)).await.unwrap_err();
        assert!(error.to_string().contains("warm-up"), "{error}");
    }
}

#[tokio::test]
async fn state_is_kept_across_calls_instances_and_generations() {
    let (factory, policy) = plugin("kept", counts_always()).await;
    let table = fleet(2).table();
    for _ in 0..5 {
        policy.decide(&table, &asking("a")).unwrap();
        policy.decide_async(&table, &asking("a")).await.unwrap();
    }
    std::thread::scope(|scope| {
        for _ in 0..5 {
            scope.spawn(|| policy.decide(&table, &asking("a")).unwrap());
        }
    });
    assert_eq!(counted(&policy, &table).await, 15);
    let options = PluginOptions { min_warm: 1, ..PluginOptions::default() };
    factory.load(Load::bytes(config("kept"), counts_always()).with(options)).await.unwrap();
    assert_eq!(counted(&policy, &table).await, 15, "in the next generation");
    policy.decide(&table, &asking("a")).unwrap();
    assert_eq!(counted(&policy, &table).await, 16);
    no_failures(&factory);
}

#[tokio::test]
async fn state_reaches_a_generation_whose_self_test_returns_none() {
    let (factory, policy) = plugin("carried", counts_sometimes()).await;
    let table = fleet(2).table();
    for _ in 0..7 {
        policy.decide_async(&table, &asking("+")).await.unwrap();
    }
    assert_eq!(counted(&policy, &table).await, 7);
    factory.load(Load::bytes(config("carried"), counts_sometimes())).await.unwrap();
    assert_eq!(counted(&policy, &table).await, 7, "the new generation is sent it before it returns any");
}

async fn decide_together(policy: &PolicyHandle, text: &'static str) {
    let fleet = Arc::new(fleet(4));
    let mut callers = tokio::task::JoinSet::new();
    for _ in 0..CALLERS {
        let (policy, fleet) = (policy.clone(), Arc::clone(&fleet));
        callers.spawn(async move {
            for _ in 0..ROUNDS {
                let decision = policy.decide_async(&fleet.table(), &asking(text)).await.unwrap();
                assert!(matches!(decision.chooser(), Chooser::Plugin { .. }), "{decision:?}");
            }
        });
    }
    while let Some(done) = callers.join_next().await {
        done.unwrap();
    }
}

fn decide_on_threads(policy: &PolicyHandle, text: &str) {
    let table = fleet(4).table();
    std::thread::scope(|scope| {
        for _ in 0..CALLERS {
            scope.spawn(|| {
                for _ in 0..ROUNDS {
                    let decision = policy.decide(&table, &asking(text)).unwrap();
                    assert!(matches!(decision.chooser(), Chooser::Plugin { .. }), "{decision:?}");
                }
            });
        }
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn state_is_exact_under_concurrent_asynchronous_callers() {
    let (factory, policy) = plugin("exact-async", counts_always()).await;
    decide_together(&policy, "a").await;
    assert_eq!(counted(&policy, &fleet(1).table()).await, (CALLERS * ROUNDS) as i64);
    no_failures(&factory);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn state_is_exact_under_concurrent_threads() {
    let (factory, policy) = plugin("exact-threads", counts_always()).await;
    decide_on_threads(&policy, "a");
    assert_eq!(counted(&policy, &fleet(1).table()).await, (CALLERS * ROUNDS) as i64);
    no_failures(&factory);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn state_that_the_self_test_did_not_see_is_exact_too() {
    let (factory, policy) = plugin("exact-rarely", counts_sometimes()).await;
    decide_together(&policy, "+").await;
    decide_on_threads(&policy, "+");
    decide_together(&policy, "-").await;
    assert_eq!(counted(&policy, &fleet(1).table()).await, 2 * (CALLERS * ROUNDS) as i64);
    no_failures(&factory);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn state_is_exact_while_generations_are_replaced() {
    let (factory, policy) = plugin("exact-reload", counts_sometimes()).await;
    let storm = async {
        // A decision asks again eight times: for each generation that goes, and for the first state.
        for _ in 0..7 {
            let load = Load::bytes(patient("exact-reload"), counts_sometimes()).with(pool_of_four());
            factory.load(load).await.unwrap();
        }
    };
    tokio::join!(decide_together(&policy, "+"), storm);
    assert_eq!(counted(&policy, &fleet(1).table()).await, (CALLERS * ROUNDS) as i64);
    no_failures(&factory);
}

/// Uses up what tokio lets a task do before it must yield.
async fn exhaust_task_budget() {
    let mut spend = std::pin::pin!(async {
        loop {
            tokio::task::coop::consume_budget().await;
        }
    });
    std::future::poll_fn(|context| {
        assert!(spend.as_mut().poll(context).is_pending());
        std::task::Poll::Ready(())
    })
    .await;
}

#[tokio::test]
async fn synchronous_caller_in_a_task_that_should_yield_is_served_like_others() {
    let (factory, policy) = plugin("coop", counts_always()).await;
    let table = fleet(2).table();
    let done = std::sync::atomic::AtomicBool::new(false);
    exhaust_task_budget().await;
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while !done.load(std::sync::atomic::Ordering::Relaxed) {
                    policy.decide(&table, &asking("a")).unwrap();
                }
            });
        }
        for _ in 0..500 {
            policy.decide(&table, &asking("a")).unwrap();
        }
        done.store(true, std::sync::atomic::Ordering::Relaxed);
    });
    no_failures(&factory);
}

#[tokio::test]
async fn error_text_is_a_guest_error_and_the_fallback_decides() {
    let data = r#"(data (i32.const 32) "\82\afselected_worker\01\a5error\a7no luck")"#;
    let (factory, policy) = loaded(guest_with(data, &answer(32, 32))).await;
    let decision = policy.decide_async(&fleet(3).table(), &SelectWorkerInfo::default()).await.unwrap();
    assert!(matches!(decision.chooser(), Chooser::Fallback { .. }), "{decision:?}");
    assert_eq!(failures(&factory, "guest_error"), 1);
}

#[tokio::test]
async fn no_choice_in_any_form_is_refused_at_load_and_taken_from_a_plugin_that_may_refuse() {
    let nil = guest_with(r#"(data (i32.const 16) "\c0")"#, &answer(16, 1));
    let map = guest_with(r#"(data (i32.const 16) "\81\afselected_worker\c0")"#, &answer(16, 18));
    let prefixed = wat::parse_str(format!(
        r#"(module {BASICS} (func (export "init"))
           (func (export "select_worker") (param i32 i32) (result i32) (i32.const 0)))"#
    ));
    let may_refuse = PluginOptions { may_refuse: true, ..PluginOptions::default() };
    for wasm in [guest("(i64.const 0)"), nil, map, prefixed.unwrap()] {
        let refused =
            sgl_testkit::plugins::load(&PolicyFactory::new(), "test", wasm.clone()).await.unwrap_err();
        assert!(refused.to_string().contains("chose nobody of 4 workers"), "{refused}");
        let (factory, policy) = loaded_with(config("test"), may_refuse.clone(), wasm).await;
        let table = fleet(3).table();
        let info = SelectWorkerInfo::default();
        let refuses = |error| matches!(error, DecideError::Refused { .. });
        assert!(refuses(policy.decide_async(&table, &info).await.unwrap_err()));
        assert!(refuses(policy.decide(&table, &info).unwrap_err()));
        assert_eq!(failures(&factory, "no_choice"), 2);
    }
}
