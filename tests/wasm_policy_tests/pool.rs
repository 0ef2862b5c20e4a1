//! Instances: how many, who gets one, when they are replaced.

use std::sync::Arc;

use parking_lot::Mutex;
use sgl_policy_abi::Concurrency;
use sgl_testkit::commanded::{WAIT_AT_GATE, commanded, commanded_as, counter, on, opener, prompt};
use sgl_testkit::fleets::fleet;
use sgl_testkit::plugins::{asking, config, failures, load, loaded_with, stats, without_probation};
use sgl_testkit::small_guests::guest_choosing;
use sgl_testkit::waits::eventually;
use sglang_router_rs::config::{Isolation, LaneOption};
use sglang_router_rs::engine::EngineOptions;
use sglang_router_rs::policies::{
    Chooser, Decision, FailureCause, Load, PluginOptions, PolicyFactory, PolicyHandle, SelectWorkerInfo,
    WasmPolicyConfig,
};
use tokio::task::JoinSet;

fn pool_of(min_warm: usize, max_instances: usize) -> PluginOptions {
    PluginOptions { min_warm, max_instances, max_wait_ms: 60_000, ..without_probation() }
}

/// The longest budget there is: nothing here depends on how fast the machine is.
fn patient() -> WasmPolicyConfig {
    WasmPolicyConfig { max_execution_time_ms: 30_000, ..config("test") }
}

/// Command 1 waits at the gate.
fn gated() -> Vec<u8> {
    commanded("", &on(1, WAIT_AT_GATE))
}

async fn open_gate(factory: &PolicyFactory) {
    factory.load(Load::bytes(patient(), opener()).with(pool_of(1, 4))).await.unwrap();
}

fn no_failures(factory: &PolicyFactory) {
    let stats = stats(factory);
    assert!(stats.failures.iter().all(|(_, count)| *count == 0), "{:?}", stats.failures);
    assert_eq!(stats.fallbacks, 0);
}

/// Spawns decisions that wait at the gate; each adds its number to the list when it is served.
fn spawn_callers(policy: &PolicyHandle, count: usize, served: &Arc<Mutex<Vec<usize>>>) -> JoinSet<Decision> {
    let mut callers = JoinSet::new();
    let table = fleet(2).table();
    for number in 0..count {
        let (policy, table, served) = (policy.clone(), Arc::clone(&table), Arc::clone(served));
        callers.spawn(async move {
            let decision = policy.decide_async(&table, &asking(&prompt(1))).await.unwrap();
            served.lock().push(number);
            decision
        });
    }
    callers
}

#[tokio::test]
async fn callers_beyond_the_instances_wait_and_are_served_in_order() {
    let (factory, policy) = loaded_with(patient(), pool_of(4, 4), gated()).await;
    let served = Arc::default();
    let mut callers = spawn_callers(&policy, 64, &served);
    eventually("60 callers wait", || stats(&factory).pool.waiting == 60).await;
    let pool = stats(&factory).pool;
    assert_eq!((pool.live, pool.idle, pool.created), (4, 0, 4));
    open_gate(&factory).await;
    while let Some(decision) = callers.join_next().await {
        assert!(matches!(decision.unwrap().chooser(), Chooser::Plugin { .. }));
    }
    no_failures(&factory);
    // Each is woken in the order of its coming; the four that ran already end in any order.
    let order = served.lock();
    assert_eq!(order.len(), 64);
    let late: Vec<usize> = order.iter().copied().filter(|number| *number >= 4).collect();
    let out_of_turn = late.iter().enumerate().filter(|(place, number)| place.abs_diff(**number - 4) > 4);
    assert_eq!(out_of_turn.count(), 0, "{late:?}");
}

#[tokio::test]
async fn callers_beyond_the_queue_go_to_the_failure_policy_at_once() {
    let options = PluginOptions { max_waiting: 100, ..pool_of(4, 4) };
    let (factory, policy) = loaded_with(patient(), options, gated()).await;
    let served = Arc::default();
    let mut callers = spawn_callers(&policy, 2_000, &served);
    // They are answered while the instances and the queue are still held up.
    for _ in 0..2_000 - 104 {
        let decision = callers.join_next().await.unwrap().unwrap();
        let cause = FailureCause::QueueFull;
        assert_eq!(decision.chooser(), Chooser::Fallback { cause });
    }
    assert_eq!(failures(&factory, "queue_full"), 2_000 - 104);
    assert_eq!(stats(&factory).pool.waiting, 100);
    assert!(!stats(&factory).breaker_open, "a full queue is not the guest's fault");
    open_gate(&factory).await;
    while let Some(decision) = callers.join_next().await {
        assert!(matches!(decision.unwrap().chooser(), Chooser::Plugin { .. }));
    }
    assert_eq!(stats(&factory).fallbacks, 2_000 - 104);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_callers_on_many_threads_never_have_more_than_the_limit() {
    let (factory, policy) = loaded_with(patient(), pool_of(1, 4), commanded("", "")).await;
    let mut callers = JoinSet::new();
    let table = fleet(3).table();
    for _ in 0..64 {
        let (asking, factory, workers) = (policy.clone(), factory.clone(), Arc::clone(&table));
        callers.spawn(async move {
            for _ in 0..200 {
                asking.decide_async(&workers, &SelectWorkerInfo::default()).await.unwrap();
            }
            assert!(stats(&factory).pool.live <= 4);
        });
        let (policy, table) = (policy.clone(), Arc::clone(&table));
        // Blocking callers have threads of their own: on the runtime's they would keep tasks from
        // running.
        callers.spawn_blocking(move || {
            for _ in 0..200 {
                policy.decide(&table, &SelectWorkerInfo::default()).unwrap();
            }
        });
    }
    while let Some(done) = callers.join_next().await {
        done.unwrap();
    }
    no_failures(&factory);
    assert!(stats(&factory).pool.created <= 4, "{:?}", stats(&factory).pool);
    assert_eq!(stats(&factory).pool.discarded, 0);
}

#[tokio::test]
async fn pool_starts_with_its_warm_instances_and_grows_to_its_limit() {
    let (factory, policy) = loaded_with(patient(), pool_of(2, 5), gated()).await;
    let pool = stats(&factory).pool;
    assert_eq!((pool.live, pool.idle, pool.created), (2, 2, 2));
    let served = Arc::default();
    let mut callers = spawn_callers(&policy, 9, &served);
    eventually("five instances are busy", || {
        let pool = stats(&factory).pool;
        (pool.live, pool.idle, pool.waiting) == (5, 0, 4)
    })
    .await;
    open_gate(&factory).await;
    while let Some(decision) = callers.join_next().await {
        decision.unwrap();
    }
    no_failures(&factory);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn serial_plugin_has_exactly_one_instance_that_remembers() {
    let counting = "(global $calls (mut i32) (i32.const 0))";
    let cases = format!(
        r#"(global.set $calls (i32.add (global.get $calls) (i32.const 1)))
        {}"#,
        on(2, "(i32.store8 (i32.const 16) (global.get $calls)) (return (i64.const 0x1000000001))")
    );
    let wasm = commanded_as(Concurrency::Serial, counting, &cases);
    // Recycling would forget, so it does not happen.
    let options = PluginOptions { recycle_after_calls: 1, isolation: Isolation::Fresh, ..pool_of(4, 8) };
    let (factory, policy) = loaded_with(patient(), options, wasm).await;
    let table = fleet(100).table();
    let mut callers = JoinSet::new();
    for _ in 0..9 {
        let (policy, table) = (policy.clone(), Arc::clone(&table));
        callers.spawn(async move {
            for _ in 0..10 {
                policy.decide_async(&table, &SelectWorkerInfo::default()).await.unwrap();
            }
        });
    }
    while let Some(done) = callers.join_next().await {
        done.unwrap();
    }
    let calls = policy.decide(&table, &asking(&prompt(2))).unwrap().index();
    assert_eq!(calls, 91, "no decision of the host's own, and none lost");
    let pool = stats(&factory).pool;
    assert_eq!((pool.live, pool.created, pool.recycled), (1, 1, 0));
    no_failures(&factory);
}

#[tokio::test]
async fn instances_are_replaced_after_their_calls() {
    let options = PluginOptions { recycle_after_calls: 10, ..pool_of(1, 1) };
    let (factory, policy) = loaded_with(patient(), options, commanded("", "")).await;
    let table = fleet(2).table();
    for _ in 0..95 {
        policy.decide_async(&table, &SelectWorkerInfo::default()).await.unwrap();
    }
    let recycled = stats(&factory).pool.recycled;
    // Ten, give or take a tenth.
    assert!((95 / 11..=95 / 9).contains(&recycled), "{recycled}");
    eventually("the next one is made", || stats(&factory).pool.idle == 1).await;
    assert_eq!(stats(&factory).pool.created, recycled + 1);
    no_failures(&factory);
}

#[tokio::test]
async fn instance_whose_memory_grew_is_replaced() {
    let grow = on(3, "(drop (memory.grow (i32.const 2)))");
    let options = PluginOptions { recycle_growth_bytes: 65_536, ..pool_of(1, 1) };
    let (factory, policy) = loaded_with(patient(), options, commanded("", &grow)).await;
    let table = fleet(2).table();
    for round in 1..=5 {
        policy.decide_async(&table, &asking(&prompt(3))).await.unwrap();
        assert_eq!(stats(&factory).pool.recycled, round);
        policy.decide_async(&table, &asking(&prompt(0))).await.unwrap();
        assert_eq!(stats(&factory).pool.recycled, round, "one that did not grow stays");
    }
    no_failures(&factory);
}

/// Answers how many decisions this instance has made before.
fn remembering() -> Vec<u8> {
    let cases = r#"
      (i32.store8 (i32.const 16) (global.get $calls))
      (global.set $calls (i32.add (global.get $calls) (i32.const 1)))
      (return (i64.const 0x1000000001))"#;
    // The host's own trials know four workers.
    commanded("(global $calls (mut i32) (i32.const 0))", cases)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn fresh_instances_never_remember_an_earlier_request() {
    let options = PluginOptions { isolation: Isolation::Fresh, ..pool_of(1, 3) };
    // Just enough for the pool and one trial: making the next instance waits for the last to go.
    let engine = EngineOptions { max_instances: 4, ..EngineOptions::default() };
    let factory = PolicyFactory::with_engine(engine);
    factory.load(Load::bytes(patient(), remembering()).with(options)).await.unwrap();
    let policy = factory.create_by_name("test").unwrap();
    assert_eq!(stats(&factory).pool.live, 3, "all that may be are ready");
    let table = fleet(200).table();
    let untouched = policy.decide(&table, &SelectWorkerInfo::default()).unwrap().index();
    let mut callers = JoinSet::new();
    for _ in 0..16 {
        let (policy, table) = (policy.clone(), Arc::clone(&table));
        callers.spawn(async move {
            for _ in 0..25 {
                let decision = policy.decide_async(&table, &SelectWorkerInfo::default()).await.unwrap();
                assert_eq!(decision.index(), untouched);
                assert!(matches!(decision.chooser(), Chooser::Plugin { .. }));
            }
        });
    }
    while let Some(done) = callers.join_next().await {
        done.unwrap();
    }
    no_failures(&factory);
    let pool = stats(&factory).pool;
    assert_eq!((pool.recycled, pool.discarded), (401, 0));
    eventually("the pool is full again", || stats(&factory).pool.idle == 3).await;
    drop(remembered_when_reused().await);
}

/// The same guest does remember where instances are used again, so the test above can fail.
async fn remembered_when_reused() -> PolicyFactory {
    let (factory, policy) = loaded_with(patient(), pool_of(1, 1), remembering()).await;
    let table = fleet(200).table();
    let first = policy.decide(&table, &SelectWorkerInfo::default()).unwrap().index();
    let second = policy.decide(&table, &SelectWorkerInfo::default()).unwrap().index();
    assert_eq!(second, first + 1);
    factory
}

#[tokio::test]
async fn callers_that_wait_for_discarded_instances_get_others() {
    // Ends only while two instances run it at once.
    let meet = "(drop (call $count (i32.const 1) (i64.const 1)))
        (loop $wait (br_if $wait (i64.lt_s (call $count (i32.const 1) (i64.const 0)) (i64.const 2))))";
    let cases = [on(1, "(loop $forever (br $forever))"), on(2, meet)].concat();
    let options = PluginOptions { lane: LaneOption::Fiber, ..pool_of(1, 2) };
    let (factory, policy) = loaded_with(patient(), options, commanded("", &cases)).await;
    let table = fleet(2).table();
    let ask = |command| {
        let (policy, table) = (policy.clone(), Arc::clone(&table));
        tokio::spawn(async move {
            policy.decide_async(&table, &asking(&prompt(command))).await.unwrap().chooser()
        })
    };
    let endless = [ask(1), ask(1)];
    eventually("both instances are in a call", || {
        let pool = stats(&factory).pool;
        (pool.created, pool.idle, pool.waiting) == (2, 0, 0)
    })
    .await;
    let waiting = [ask(2), ask(2)];
    eventually("two callers wait", || stats(&factory).pool.waiting == 2).await;
    endless.iter().for_each(|caller| caller.abort());
    for caller in waiting {
        assert!(matches!(caller.await.unwrap(), Chooser::Plugin { .. }));
    }
    assert_eq!(stats(&factory).pool.discarded, 2);
}

#[tokio::test]
async fn engine_total_is_never_exceeded() {
    let engine = EngineOptions { max_instances: 10, ..EngineOptions::default() };
    let factory = PolicyFactory::with_engine(engine);
    let load =
        |name: &str, most| factory.load(Load::bytes(config(name), guest_choosing(0)).with(pool_of(1, most)));
    load("a", 6).await.unwrap();
    let error = load("b", 5).await.unwrap_err().to_string();
    assert!(error.contains("no room for 5 more instances: 6 of 10 are reserved"), "{error}");
    assert!(error.contains("lower max_instances, unload a plugin"), "{error}");
    assert_eq!(factory.list_wasm_plugins(), ["a"]);
    load("b", 3).await.unwrap();
    let error = load("a", 2).await.unwrap_err().to_string();
    assert!(error.contains("9 of 10 are reserved"), "{error}");
    assert!(factory.unload_wasm_plugin("a"));
    for _ in 0..200 {
        // Its instances go in the background.
        if load("a", 7).await.is_ok() {
            return;
        }
        tokio::task::yield_now().await;
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    panic!("the room of an unloaded plugin is not given back");
}

#[tokio::test]
async fn memory_of_all_plugins_is_bounded_over_their_generations() {
    // 64 KiB of a guest and 1.8 MiB beside: three instances and the one of a trial.
    let small = |name| WasmPolicyConfig { max_memory_bytes: 128 << 10, ..config(name) };
    let engine = EngineOptions { max_plugin_memory: Some(8 << 20), ..EngineOptions::default() };
    let factory = PolicyFactory::with_engine(engine);
    let load = |name, most| factory.load(Load::bytes(small(name), guest_choosing(0)).with(pool_of(1, most)));
    let error = load("a", 5).await.unwrap_err().to_string();
    assert!(error.contains("its instances may come to 10 MiB of memory, and 0 MiB of 8 MiB"), "{error}");
    load("a", 2).await.unwrap();
    let error = load("b", 3).await.unwrap_err().to_string();
    assert!(error.contains("and 4 MiB of 8 MiB are reserved by others"), "{error}");
    assert!(error.contains("raise max_plugin_memory"), "{error}");
    assert_eq!(factory.list_wasm_plugins(), ["a"]);
    load("b", 1).await.unwrap();
    // Both generations of the first need room until the old one is gone.
    let error = load("a", 2).await.unwrap_err().to_string();
    assert!(error.contains("MiB are reserved by others"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn reload_storm_fails_no_decision() {
    let (factory, policy) = loaded_with(patient(), pool_of(2, 4), commanded("", "")).await;
    let done = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let mut callers = JoinSet::new();
    for _ in 0..16 {
        let (policy, done, table) = (policy.clone(), Arc::clone(&done), fleet(3).table());
        callers.spawn(async move {
            while !done.load(std::sync::atomic::Ordering::Relaxed) {
                let decision = policy.decide_async(&table, &SelectWorkerInfo::default()).await.unwrap();
                assert!(matches!(decision.chooser(), Chooser::Plugin { .. }), "{decision:?}");
                tokio::task::yield_now().await;
            }
        });
    }
    let (blocking, ended, table) = (policy.clone(), Arc::clone(&done), fleet(3).table());
    callers.spawn_blocking(move || {
        while !ended.load(std::sync::atomic::Ordering::Relaxed) {
            let decision = blocking.decide(&table, &SelectWorkerInfo::default()).unwrap();
            assert!(matches!(decision.chooser(), Chooser::Plugin { .. }), "{decision:?}");
        }
    });
    for round in 0..40 {
        let wasm = if round % 2 == 0 { guest_choosing(1) } else { commanded("", "") };
        factory.load(Load::bytes(patient(), wasm).with(pool_of(2, 4))).await.unwrap();
    }
    done.store(true, std::sync::atomic::Ordering::Relaxed);
    while let Some(caller) = callers.join_next().await {
        caller.unwrap();
    }
    no_failures(&factory);
    eventually("one live generation", || stats(&factory).live_generations == 1).await;
    assert_eq!(stats(&factory).pool.idle, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn loads_of_one_name_at_once_are_generations_of_one_plugin() {
    let factory = PolicyFactory::new();
    let mut loads = JoinSet::new();
    for _ in 0..8 {
        let factory = factory.clone();
        let counts = on(5, "(drop (call $count (i32.const 3) (i64.const 1)))");
        loads.spawn(async move { load(&factory, "test", commanded("", &counts)).await.unwrap() });
    }
    while let Some(info) = loads.join_next().await {
        info.unwrap();
    }
    eventually("one live generation", || stats(&factory).live_generations == 1).await;
    let (policy, table) = (factory.create_by_name("test").unwrap(), fleet(9).table());
    policy.decide(&table, &asking(&prompt(5))).unwrap();
    load(&factory, "test", commanded("", "")).await.unwrap();
    assert_eq!(counter(&policy, &table, 3).await, 1, "the counters outlive the generation");
}
