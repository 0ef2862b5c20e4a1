//! A caller whose future is dropped, wherever it waits, leaks nothing.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;

use sgl_policy_abi::{Concurrency, Input};
use sgl_testkit::commanded::{commanded, commanded_as, on, prompt};
use sgl_testkit::fleets::{fleet, slice};
use sgl_testkit::manifest::manifest;
use sgl_testkit::plugins::{asking, config, loaded_with, stats};
use sgl_testkit::small_guests::guest_with;
use sgl_testkit::text::{HOST, answer};
use sgl_testkit::waits::{eventually, poll_then_drop};
use sglang_router_rs::config::BreakerOptions;
use sglang_router_rs::core::{Worker, WorkerTable};
use sglang_router_rs::policies::{
    Chooser, LoadBalancingPolicy, PluginOptions, PolicyFactory, PolicyHandle, SelectWorkerInfo,
    WasmPolicyConfig,
};

use crate::capture::catch_logs;
use crate::counting::{counted, counts_always};

const FOREVER: &str = "(loop $forever (br $forever))";

/// Polls that a call surely survives: it ends at its budget, half a minute on.
const POLLS: usize = 5;

async fn plugin(name: &str, instances: usize, wasm: Vec<u8>) -> (PolicyFactory, PolicyHandle) {
    let limits = WasmPolicyConfig { max_execution_time_ms: 30_000, ..config(name) };
    let options = PluginOptions {
        min_warm: instances,
        max_instances: instances,
        max_wait_ms: 30_000,
        ..PluginOptions::default()
    };
    loaded_with(limits, options, wasm).await
}

/// Polls a future this often, and returns it.
async fn start<F: Future + Unpin>(mut future: F) -> F {
    for _ in 0..POLLS {
        assert!(!poll_then_drop(&mut future, 1).await, "it must wait");
    }
    future
}

/// All is as it was after loading, but for so many discarded instances; and the plugin decides.
async fn all_is_well(
    factory: &PolicyFactory,
    policy: &PolicyHandle,
    table: &WorkerTable,
    instances: usize,
    discarded: u64,
) {
    eventually("the pool is as it was", || {
        let pool = stats(factory).pool;
        (pool.live, pool.idle, pool.waiting) == (instances, instances, 0)
    })
    .await;
    let found = stats(factory);
    assert_eq!(found.pool.discarded, discarded);
    assert_eq!(found.pool.created, instances as u64 + discarded);
    assert!(found.failures.iter().all(|(_, count)| *count == 0), "{:?}", found.failures);
    assert!(table.workers().iter().all(|worker| worker.load() == 0), "nothing counts as in flight");
    for _ in 0..2 * instances {
        let decision = policy.decide_async(table, &asking("")).await.unwrap();
        assert!(matches!(decision.chooser(), Chooser::Plugin { .. }), "{decision:?}");
        policy.decide(table, &asking("")).unwrap();
    }
}

#[tokio::test]
async fn caller_that_leaves_in_the_middle_of_the_guest_costs_its_instance() {
    let (factory, policy) = plugin("test", 2, commanded("", &on(1, FOREVER))).await;
    let table = fleet(2).table();
    let text = prompt(1);
    for polls in 1..=POLLS {
        // Else it would leave while it waits for the instance that the one before it cost.
        eventually("all instances are idle", || stats(&factory).pool.idle == 2).await;
        assert!(!poll_then_drop(policy.decide_async(&table, &asking(&text)), polls).await);
    }
    all_is_well(&factory, &policy, &table, 2, POLLS as u64).await;
    let workers = slice(2);
    let info = asking(&text);
    assert!(!poll_then_drop(policy.select_worker_async(&workers, &info), POLLS).await);
    assert_eq!(workers[0].load() + workers[1].load(), 0);
    all_is_well(&factory, &policy, &table, 2, POLLS as u64 + 1).await;
}

/// Counts to a hundred million, which takes more ticks than [`POLLS`].
const LONG: &str = "(local.set $ptr (i32.const 100000000))
    (loop $more (br_if $more (local.tee $ptr (i32.sub (local.get $ptr) (i32.const 1)))))";

/// Remembers in its own memory how many calls of command 1 have ended, each of them long; command 2
/// answers how many.
fn remembers_long_calls() -> Vec<u8> {
    let count = "(i32.store8 (i32.const 40) (i32.add (i32.load8_u (i32.const 40)) (i32.const 1)))";
    let cases = [on(1, &format!("{LONG} {count}")), on(2, &format!("(return {})", answer(40, 1)))];
    commanded_as(Concurrency::Serial, "", &cases.concat())
}

#[tokio::test]
async fn call_of_a_serial_plugin_ends_without_its_caller() {
    let (factory, policy) = plugin("test", 1, remembers_long_calls()).await;
    let table = fleet(9).table();
    let (long, asks) = (prompt(1), prompt(2));
    for ended in 1..=3 {
        assert!(!poll_then_drop(policy.decide_async(&table, &asking(&long)), POLLS).await);
        let decision = policy.decide_async(&table, &asking(&asks)).await.unwrap();
        assert!(matches!(decision.chooser(), Chooser::Plugin { .. }), "{decision:?}");
        assert_eq!(decision.index(), ended, "it has counted the call whose caller left");
    }
    all_is_well(&factory, &policy, &table, 1, 0).await;
}

#[tokio::test]
async fn call_without_a_caller_that_runs_out_of_its_budget_counts_as_lost_time() {
    let limits = WasmPolicyConfig { max_execution_time_ms: 60, ..config("test") };
    let breaker = BreakerOptions { failures: 0, max_lost_percent: 1, ..BreakerOptions::default() };
    let wasm = commanded_as(Concurrency::Serial, "", &on(1, FOREVER));
    let (factory, policy) = loaded_with(limits, PluginOptions { breaker, ..Default::default() }, wasm).await;
    let table = fleet(2).table();
    let text = prompt(1);
    assert!(!poll_then_drop(policy.decide_async(&table, &asking(&text)), POLLS).await);
    eventually("the breaker opens", || stats(&factory).breaker_open).await;
    assert_eq!(stats(&factory).pool.discarded, 1);
}

#[tokio::test]
async fn caller_that_leaves_while_waiting_for_an_instance_costs_nothing() {
    let (factory, policy) = plugin("test", 1, commanded("", &on(1, FOREVER))).await;
    let table = fleet(2).table();
    let text = prompt(1);
    let info = asking(&text);
    let running = start(Box::pin(policy.decide_async(&table, &info))).await;
    let first = start(Box::pin(policy.decide_async(&table, &info))).await;
    let second = start(Box::pin(policy.decide_async(&table, &info))).await;
    assert_eq!(stats(&factory).pool.waiting, 2);
    drop(first);
    assert_eq!(stats(&factory).pool.waiting, 1);
    drop(second);
    assert_eq!(stats(&factory).pool.waiting, 0);
    assert_eq!(stats(&factory).pool.discarded, 0);
    drop(running);
    all_is_well(&factory, &policy, &table, 1, 1).await;
}

#[tokio::test]
async fn instance_that_a_caller_was_woken_for_and_left_goes_to_the_next() {
    let (factory, policy) = plugin("test", 1, commanded("", &on(1, FOREVER))).await;
    let table = fleet(2).table();
    let (loops, plain) = (prompt(1), prompt(0));
    let (loops, plain) = (asking(&loops), asking(&plain));
    let running = start(Box::pin(policy.decide_async(&table, &loops))).await;
    let first = start(Box::pin(policy.decide_async(&table, &plain))).await;
    let mut second = start(Box::pin(policy.decide_async(&table, &plain))).await;
    drop(running);
    // The first is woken for the instance that replaces the discarded one, and is not polled.
    eventually("another instance is there", || stats(&factory).pool.idle == 1).await;
    drop(first);
    let decision = (&mut second).await.unwrap();
    assert!(matches!(decision.chooser(), Chooser::Plugin { .. }), "{decision:?}");
    drop((decision, second));
    all_is_well(&factory, &policy, &table, 1, 1).await;
}

#[tokio::test]
async fn instance_that_a_caller_was_woken_for_and_left_is_idle_if_nobody_waits() {
    let (factory, policy) = plugin("test", 1, commanded("", &on(1, FOREVER))).await;
    let table = fleet(2).table();
    let (loops, plain) = (prompt(1), prompt(0));
    let (loops, plain) = (asking(&loops), asking(&plain));
    let running = start(Box::pin(policy.decide_async(&table, &loops))).await;
    let waiting = start(Box::pin(policy.decide_async(&table, &plain))).await;
    drop(running);
    eventually("another instance is there", || stats(&factory).pool.idle == 1).await;
    drop(waiting);
    all_is_well(&factory, &policy, &table, 1, 1).await;
}

#[tokio::test]
async fn caller_that_leaves_while_holding_the_state_keeps_nobody_waiting() {
    catch_logs();
    let (factory, policy) = plugin("leaves-state", 2, counts_always()).await;
    let table = fleet(2).table();
    let (loops, counts) = (asking("!"), asking("a"));
    policy.decide_async(&table, &counts).await.unwrap();
    let holding = start(Box::pin(policy.decide_async(&table, &loops))).await;
    let gone = start(Box::pin(policy.decide_async(&table, &counts))).await;
    let mut next = start(Box::pin(policy.decide_async(&table, &counts))).await;
    drop(gone);
    drop(holding);
    (&mut next).await.unwrap();
    drop(next);
    assert_eq!(counted(&policy, &table).await, 2, "the cancelled calls left the state as it was");
    all_is_well(&factory, &policy, &table, 2, 1).await;
}

#[tokio::test]
async fn callers_that_leave_the_queue_for_the_state_give_their_places_up() {
    catch_logs();
    let limits = WasmPolicyConfig { max_execution_time_ms: 30_000, ..config("leaves-queue") };
    let options = PluginOptions {
        min_warm: 1,
        max_instances: 1,
        max_waiting: 1,
        max_wait_ms: 30_000,
        ..Default::default()
    };
    let (factory, policy) = loaded_with(limits, options, counts_always()).await;
    let table = fleet(2).table();
    let (loops, counts) = (asking("!"), asking("a"));
    let holding = start(Box::pin(policy.decide_async(&table, &loops))).await;
    for _ in 0..10 {
        drop(start(Box::pin(policy.decide_async(&table, &counts))).await);
    }
    let mut waiting = start(Box::pin(policy.decide_async(&table, &counts))).await;
    drop(holding);
    let decision = (&mut waiting).await.unwrap();
    assert!(matches!(decision.chooser(), Chooser::Plugin { .. }), "{decision:?}");
    drop((decision, waiting));
    all_is_well(&factory, &policy, &table, 1, 1).await;
}

/// Loops in `on_workers` for tables of 9 workers.
fn slow_listener() -> Vec<u8> {
    let fields = format!(
        r#"{HOST}{}(data (i32.const 16) "\00")
        (func (export "on_workers") (param $ptr i32) (param $len i32)
          (local $at i32)
          (local.set $at (local.get $ptr))
          ;; The array's head follows the key that ends in "workers".
          (loop $search
            (if (i32.ne (i64.eqz (i64.sub (i64.load (local.get $at)) (i64.const 0x7372656b726f77a7))) (i32.const 1))
              (then (local.set $at (i32.add (local.get $at) (i32.const 1))) (br $search))))
          (if (i32.eq (i32.load8_u (i32.add (local.get $at) (i32.const 8))) (i32.const 0x99))
            (then {FOREVER})))"#,
        manifest(&[Input::Load])
    );
    guest_with(&fields, &answer(16, 1))
}

#[tokio::test]
async fn caller_that_leaves_while_the_guest_learns_the_table_costs_its_instance() {
    let (factory, policy) = plugin("test", 1, slow_listener()).await;
    let (small, large) = (fleet(3).table(), fleet(9).table());
    let info = SelectWorkerInfo::default();
    policy.decide_async(&small, &info).await.unwrap();
    assert!(!poll_then_drop(policy.decide_async(&large, &info), POLLS).await);
    assert!(large.workers().iter().all(|worker| worker.load() == 0));
    all_is_well(&factory, &policy, &small, 1, 1).await;
}

#[tokio::test]
async fn pair_that_is_given_up_at_its_second_leg_counts_nothing() {
    // Loops at the decode leg.
    let body = format!(
        r#"(if (i32.eq (i32.const 2)
              (i32.load8_u (i32.sub (i32.add (local.get $ptr) (local.get $len)) (i32.const 1))))
            (then {FOREVER}))
        {}"#,
        answer(16, 1)
    );
    let fields = format!(r#"{}(data (i32.const 16) "\00")"#, manifest(&[Input::Leg]));
    let (factory, policy) = plugin("test", 1, guest_with(&fields, &body)).await;
    let fleet = sglang_router_rs::core::Fleet::new();
    for (index, role) in ["prefill", "decode"].into_iter().enumerate() {
        let spec = serde_json::json!({"url": format!("http://w{index}"), "role": role});
        fleet.add(serde_json::from_value(spec).unwrap(), true).unwrap();
    }
    let table = fleet.table();
    let info = SelectWorkerInfo::default();
    assert!(!poll_then_drop(policy.decide_pair_async(&table, &info), POLLS).await);
    all_is_well(&factory, &policy, &table, 1, 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_callers_that_leave_at_random_leak_nothing() {
    let (factory, policy) = plugin("test", 4, commanded("", &on(1, FOREVER))).await;
    let table = fleet(3).table();
    let mut callers = tokio::task::JoinSet::new();
    for seed in 0..32 {
        let (policy, table) = (policy.clone(), Arc::clone(&table));
        callers.spawn(async move {
            let random = &mut fastrand::Rng::with_seed(seed);
            for _ in 0..20 {
                let text = prompt(random.usize(0..4));
                let info = asking(&text);
                let mut decision = pin!(policy.decide_async(&table, &info));
                poll_then_drop(&mut decision, random.usize(1..6)).await;
            }
        });
    }
    while let Some(done) = callers.join_next().await {
        done.unwrap();
    }
    let discarded = stats(&factory).pool.discarded;
    assert!(discarded > 0, "some left in the middle of the guest");
    eventually("everything is replaced", || stats(&factory).pool.idle == 4).await;
    all_is_well(&factory, &policy, &table, 4, stats(&factory).pool.discarded).await;
}
