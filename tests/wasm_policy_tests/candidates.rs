//! A canary and a shadow leave nothing behind until they are promoted: what they write to counters,
//! map, row-form state and files is their own.

use std::sync::Arc;
use std::time::Duration;

use sgl_policy_abi::Input;
use sgl_testkit::commanded::{commanded, on, prompt};
use sgl_testkit::fleets::fleet;
use sgl_testkit::manifest::manifest;
use sgl_testkit::plugins::{asking, config, finished, loaded, loaded_with, stats, without_probation};
use sgl_testkit::small_guests::{guest_choosing, guest_with};
use sgl_testkit::text::{HOST, answer};
use sgl_testkit::waits::eventually;
use sglang_router_rs::config::{BreakerOptions, CanaryOptions, Rollout, ShadowOptions};
use sglang_router_rs::core::WorkerTable;
use sglang_router_rs::policies::{
    Chooser, Load, PluginDetail, PluginOptions, PluginStatus, PolicyFactory, PolicyHandle, SelectWorkerInfo,
};

use crate::capture::catch_logs;
use crate::counting::{counted, counts_always};

fn detail(factory: &PolicyFactory) -> PluginDetail {
    factory.plugin_detail("test").expect("it is loaded")
}

/// A canary for every second key, which nothing ends but the operator.
fn canary() -> PluginOptions {
    let canary = CanaryOptions { percent: 50.0, min_secs: 3600, ..CanaryOptions::default() };
    PluginOptions { rollout: Rollout::Canary(canary), ..without_probation() }
}

fn shadow() -> PluginOptions {
    PluginOptions { rollout: Rollout::Shadow(ShadowOptions { every: 1 }), ..without_probation() }
}

async fn push(factory: &PolicyFactory, options: PluginOptions, wasm: Vec<u8>) -> u64 {
    push_as(factory, "test", options, wasm).await
}

async fn push_as(factory: &PolicyFactory, name: &str, options: PluginOptions, wasm: Vec<u8>) -> u64 {
    let pushed = factory.load(Load::bytes(config(name), wasm).with(options)).await;
    pushed.expect("it loads").generation
}

const COUNT: usize = 10;
const STORE: usize = 11;
const LOAD: usize = 12;

/// On [`COUNT`] counter 0 goes up; [`STORE`] stores one byte, whose place in the map [`LOAD`] answers:
/// its length, or 0 if there is none. Finished requests are counted in counter 1.
fn remembering() -> Vec<u8> {
    let key = "(i32.const 3000) (i32.const 3)";
    let cases = [
        on(10, "(drop (call $count (i32.const 0) (i64.const 1)))"),
        on(11, &format!("(drop (call $kv_set {key} (i32.const 3000) (i32.const 1)))")),
        on(
            12,
            &format!(
                "(i32.store8 (i32.const 16) (i32.const 0))
                 (if (i32.gt_s (call $kv_get {key} (i32.const 2048) (i32.const 8)) (i32.const 0))
                   (then (i32.store8 (i32.const 16) (i32.const 1))))
                 (return {})",
                answer(16, 1)
            ),
        ),
    ];
    let fields = r#"(data (i32.const 3000) "key")
        (func (export "on_complete") (param i32 i32) (drop (call $count (i32.const 1) (i64.const 1))))"#;
    commanded(fields, &cases.concat())
}

/// A key whose requests go to this generation.
async fn key_of(policy: &PolicyHandle, table: &WorkerTable, generation: u64) -> String {
    for number in 0..200 {
        let key = format!("key {number}");
        let info = SelectWorkerInfo { request_key: Some(&key), ..SelectWorkerInfo::default() };
        if policy.decide_async(table, &info).await.unwrap().chooser() == (Chooser::Plugin { generation }) {
            return key;
        }
    }
    panic!("no key in 200 goes to generation {generation}");
}

/// One plugin with a canary, and a key for each of the two.
struct Pair {
    factory: PolicyFactory,
    policy: PolicyHandle,
    table: Arc<WorkerTable>,
    stable: String,
    canary: String,
    canary_id: u64,
}

impl Pair {
    async fn of(wasm: Vec<u8>) -> Self {
        let (factory, policy) = loaded(wasm.clone()).await;
        let stable_id = detail(&factory).generations[0].generation;
        let canary_id = push(&factory, canary(), wasm).await;
        let table = fleet(64).table();
        let stable = key_of(&policy, &table, stable_id).await;
        let canary = key_of(&policy, &table, canary_id).await;
        Self { factory, policy, table, stable, canary, canary_id }
    }

    /// What the generation of that key answers to a command.
    async fn ask(&self, key: &str, command: usize) -> usize {
        let text = prompt(command);
        let info = SelectWorkerInfo { request_key: Some(key), ..asking(&text) };
        self.policy.decide_async(&self.table, &info).await.expect("it decides").index()
    }

    async fn counter(&self, key: &str, slot: usize) -> usize {
        self.ask(key, 64 + slot).await
    }
}

#[tokio::test]
async fn counters_and_map_of_a_canary_go_with_it() {
    let pair = Pair::of(remembering()).await;
    for _ in 0..3 {
        pair.ask(&pair.canary, COUNT).await;
    }
    pair.ask(&pair.canary, STORE).await;
    assert_eq!((pair.counter(&pair.canary, 0).await, pair.ask(&pair.canary, LOAD).await), (3, 1));
    assert_eq!((pair.counter(&pair.stable, 0).await, pair.ask(&pair.stable, LOAD).await), (0, 0));
    pair.factory.roll_back_wasm_plugin("test").await.unwrap();
    assert_eq!((pair.counter(&pair.canary, 0).await, pair.ask(&pair.canary, LOAD).await), (0, 0));
}

#[tokio::test]
async fn promoted_canary_keeps_its_map_and_adds_to_the_counters() {
    let pair = Pair::of(remembering()).await;
    for (key, times) in [(&pair.canary, 3), (&pair.stable, 5)] {
        for _ in 0..times {
            pair.ask(key, COUNT).await;
        }
    }
    pair.ask(&pair.canary, STORE).await;
    pair.factory.promote_wasm_plugin("test").await.unwrap();
    for key in [&pair.canary, &pair.stable] {
        assert_eq!((pair.counter(key, 0).await, pair.ask(key, LOAD).await), (8, 1));
    }
    pair.ask(&pair.canary, COUNT).await;
    push(&pair.factory, without_probation(), remembering()).await;
    assert_eq!((pair.counter(&pair.stable, 0).await, pair.ask(&pair.stable, LOAD).await), (9, 1));
}

#[tokio::test]
async fn finished_requests_are_told_to_the_generation_that_placed_them() {
    let pair = Pair::of(remembering()).await;
    let stable_id = detail(&pair.factory).generations[0].generation;
    pair.policy.on_request_complete(&finished(Chooser::Plugin { generation: pair.canary_id }));
    let canary = || async { pair.counter(&pair.canary, 1).await };
    for _ in 0..2000 {
        if canary().await == 1 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert_eq!((canary().await, pair.counter(&pair.stable, 1).await), (1, 0));
    pair.factory.roll_back_wasm_plugin("test").await.unwrap();
    // The first is nobody's any more; the batch of the second would have had both.
    pair.policy.on_request_complete(&finished(Chooser::Plugin { generation: pair.canary_id }));
    pair.policy.on_request_complete(&finished(Chooser::Plugin { generation: stable_id }));
    for _ in 0..2000 {
        if pair.counter(&pair.stable, 1).await > 0 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(pair.counter(&pair.stable, 1).await, 1);
}

/// A row-form guest that answers worker 0 and, as its state, a count that is far from right.
fn poisoning() -> Vec<u8> {
    let data = r#"(data (i32.const 1024) "\82\afselected_worker\00\a5state\81\a1n\ce\ff\ff\ff\f0")"#;
    guest_with(data, &answer(1024, 32))
}

#[tokio::test]
async fn row_state_of_a_canary_is_its_own() {
    catch_logs();
    let (factory, policy) = loaded_with(config("canary-rows"), without_probation(), counts_always()).await;
    let fleet = fleet(1);
    let table = fleet.table();
    for _ in 0..7 {
        policy.decide_async(&table, &asking("a")).await.unwrap();
    }
    let canary_id = push_as(&factory, "canary-rows", canary(), poisoning()).await;
    let mut by_stable = 0;
    for _ in 0..100 {
        let decision = policy.decide_async(&table, &asking("a")).await.unwrap();
        by_stable += i64::from(decision.chooser() != (Chooser::Plugin { generation: canary_id }));
    }
    assert!((1..100).contains(&by_stable), "both decide: {by_stable}");
    factory.roll_back_wasm_plugin("canary-rows").await.unwrap();
    assert_eq!(counted(&policy, &table).await, 7 + by_stable);
    assert_eq!(stats(&factory).fallbacks, 0);
}

#[tokio::test]
async fn generation_rolled_back_on_probation_takes_its_map_and_state_along() {
    catch_logs();
    let (factory, policy) = loaded_with(config("probation-rows"), without_probation(), counts_always()).await;
    let fleet = fleet(1);
    let table = fleet.table();
    for _ in 0..7 {
        policy.decide_async(&table, &asking("a")).await.unwrap();
    }
    push_as(&factory, "probation-rows", PluginOptions::default(), poisoning()).await;
    for _ in 0..5 {
        policy.decide_async(&table, &asking("a")).await.unwrap();
    }
    factory.roll_back_wasm_plugin("probation-rows").await.unwrap();
    for _ in 0..2000 {
        if counted(&policy, &table).await == 7 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    panic!("the state is {} after the rollback, not the 7 of before", counted(&policy, &table).await);
}

/// Counts in counter 5, which the stable generation's choice depends on.
fn counting() -> Vec<u8> {
    let body = format!("(drop (call $count (i32.const 5) (i64.const 1))) {}", answer(16, 1));
    let inputs = manifest(&[Input::PromptBytes]);
    guest_with(&format!(r#"{HOST}{inputs}(data (i32.const 16) "\00")"#), &body)
}

#[tokio::test]
async fn shadow_changes_no_counter_of_the_plugin_also_when_promoted() {
    let (factory, policy) = loaded(commanded("", "")).await;
    let fleet = fleet(128);
    let table = fleet.table();
    push(&factory, shadow(), counting()).await;
    let text = prompt(69);
    for _ in 0..50 {
        assert_eq!(policy.decide_async(&table, &asking(&text)).await.unwrap().index(), 0);
    }
    eventually("it has looked at some", || detail(&factory).shadow.unwrap().compared > 0).await;
    factory.promote_wasm_plugin("test").await.unwrap();
    push(&factory, without_probation(), commanded("", "")).await;
    assert_eq!(policy.decide_async(&table, &asking(&text)).await.unwrap().index(), 0);
}

/// Never answers a question with real traffic, which has no prompt here.
fn spinning() -> Vec<u8> {
    let body = format!(
        "(if (i32.eqz (i32.load8_u (i32.sub (i32.add (local.get $ptr) (local.get $len)) (i32.const 1))))
           (then (loop $on (br $on)))) {}",
        answer(16, 1)
    );
    let inputs = manifest(&[Input::PromptBytes]);
    guest_with(&format!(r#"{inputs}(data (i32.const 16) "\00")"#), &body)
}

#[tokio::test]
async fn shadow_that_was_rolled_back_does_not_work_off_what_waits_for_it() {
    let (factory, policy) = loaded(guest_choosing(0)).await;
    let unlimited = BreakerOptions { max_lost_percent: 0, ..BreakerOptions::default() };
    // A second for each copy.
    push(&factory, PluginOptions { breaker: unlimited, ..shadow() }, spinning()).await;
    let fleet = fleet(1);
    let table = fleet.table();
    for _ in 0..300 {
        policy.decide_async(&table, &SelectWorkerInfo::default()).await.unwrap();
    }
    factory.roll_back_wasm_plugin("test").await.unwrap();
    eventually("only the stable generation lives", || stats(&factory).live_generations == 1).await;
}

#[tokio::test]
async fn shadow_that_loses_too_much_time_is_ended() {
    let (factory, policy) = loaded(guest_choosing(0)).await;
    let mut limits = config("test");
    limits.max_execution_time_ms = 50;
    let pushed = factory.load(Load::bytes(limits, spinning()).with(shadow())).await;
    pushed.expect("it loads");
    let fleet = fleet(1);
    let table = fleet.table();
    for _ in 0..100 {
        policy.decide_async(&table, &SelectWorkerInfo::default()).await.unwrap();
    }
    eventually("it is ended", || detail(&factory).state == PluginStatus::Serving).await;
    let event = detail(&factory).last_event.unwrap().to_string();
    assert!(event.contains("it lost more time than breaker.max_lost_percent"), "{event}");
}

#[tokio::test]
async fn copies_for_a_shadow_are_bounded_in_bytes() {
    let (factory, policy) = loaded(guest_choosing(0)).await;
    let fleet = fleet(1);
    let table = fleet.table();
    push(&factory, without_probation(), commanded("", "")).await;
    let mut limits = config("test");
    // An eighth of it is what a plugin is sent of a text: few of them fill the queue.
    limits.max_memory_bytes = 100_000_000;
    let all = guest_with(r#"(data (i32.const 16) "\00")"#, &answer(16, 1));
    factory.load(Load::bytes(limits, all).with(shadow())).await.expect("it loads");
    let text = "x".repeat(17 << 20);
    let skipped = || detail(&factory).shadow.unwrap().skipped;
    for _ in 0..200 {
        policy.decide(&table, &asking(&text)).unwrap();
        if skipped() > 0 {
            break;
        }
    }
    assert!(skipped() > 0, "a queue without bounds took 200 copies");
    policy.decide_async(&table, &asking("short")).await.unwrap();
    eventually("what was taken is shown", || detail(&factory).shadow.unwrap().compared > 0).await;
}
