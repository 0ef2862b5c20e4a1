//! Prefill and decode workers: chosen jointly, or by two selections.

use std::sync::Arc;

use sgl_policy_abi::Input;
use sgl_testkit::commanded::{ECHO, prompt};
use sgl_testkit::manifest::manifest;
use sgl_testkit::plugins::{asking, config, failures, loaded_with};
use sgl_testkit::small_guests::guest_with;
use sgl_testkit::text::{HOST, answer};
use sglang_router_rs::core::{BasicWorker, Fleet, Worker, WorkerRole, WorkerSpec};
use sglang_router_rs::policies::{
    Chooser, DecideError, FailureCause, LoadBalancingPolicy, PairDecision, PluginOptions, SelectWorkerInfo,
};

use crate::capture::{catch_logs, take_echo, take_lines};
use crate::decoder::Value;

const ROLES: [WorkerRole; 5] =
    [WorkerRole::Regular, WorkerRole::Prefill, WorkerRole::Decode, WorkerRole::Prefill, WorkerRole::Decode];

fn spec(index: usize, role: WorkerRole) -> WorkerSpec {
    WorkerSpec { role, ..WorkerSpec::new(format!("http://w{index}")) }
}

fn fleet_of_roles() -> Fleet {
    let fleet = Fleet::new();
    for (index, role) in ROLES.into_iter().enumerate() {
        fleet.add(spec(index, role), true).unwrap();
    }
    fleet
}

/// A guest whose pair is the prompt's size in base 8; 0 = none.
fn pairing() -> Vec<u8> {
    let fields = format!(
        r#"{}(data (i32.const 16) "\92")
        (func (export "select_worker_pair") (param $ptr i32) (param $len i32) (result i64)
          (local $size i32)
          (local.set $size
            (i32.load8_u (i32.sub (i32.add (local.get $ptr) (local.get $len)) (i32.const 1))))
          (if (i32.eqz (local.get $size)) (then (return (i64.const 0))))
          (i32.store8 (i32.const 17) (i32.shr_u (local.get $size) (i32.const 3)))
          (i32.store8 (i32.const 18) (i32.and (local.get $size) (i32.const 7)))
          {})"#,
        manifest(&[Input::PromptBytes]),
        answer(16, 3)
    );
    guest_with(&fields, "(i64.const 0)")
}

fn indexes(pair: &PairDecision) -> (usize, usize) {
    (pair.prefill.index(), pair.decode.index())
}

#[tokio::test]
async fn pair_of_the_right_roles_is_taken_and_counted() {
    let (_factory, policy) = loaded_with(config("test"), PluginOptions::default(), pairing()).await;
    let fleet = fleet_of_roles();
    let table = fleet.table();
    let pair = policy.decide_pair_async(&table, &asking(&prompt(0o34))).await.unwrap();
    assert_eq!(indexes(&pair), (3, 4));
    assert!(matches!(pair.prefill.chooser(), Chooser::Plugin { .. }));
    let loads = || table.workers().iter().map(|worker| worker.load()).collect::<Vec<_>>();
    assert_eq!(loads(), [0, 0, 0, 1, 1]);
    drop(pair);
    assert_eq!(loads(), [0; 5]);
}

#[tokio::test]
async fn pair_that_may_not_be_is_an_invalid_choice_and_the_fallback_decides() {
    let (factory, policy) = loaded_with(config("test"), PluginOptions::default(), pairing()).await;
    let fleet = fleet_of_roles();
    let table = fleet.table();
    table.workers()[4].set_healthy(false);
    // Roles the wrong way round, the same worker twice, a regular one, an unhealthy one, none.
    for (count, wrong) in [0o23, 0o11, 0o02, 0o14].into_iter().enumerate() {
        let pair = policy.decide_pair_async(&table, &asking(&prompt(wrong))).await.unwrap();
        assert!(matches!(pair.decode.chooser(), Chooser::Fallback { .. }), "{wrong:o}");
        assert_eq!(table.workers()[pair.prefill.index()].role(), WorkerRole::Prefill);
        assert_eq!(pair.decode.index(), 2, "the only healthy one");
        assert_eq!(failures(&factory, "invalid_choice"), count as u64 + 1, "{wrong:o}");
    }
}

#[tokio::test]
async fn no_pair_is_a_failure_where_there_is_one_to_choose_and_else_an_answer() {
    let (factory, policy) = loaded_with(config("test"), PluginOptions::default(), pairing()).await;
    let table = fleet_of_roles().table();
    let pair = policy.decide_pair_async(&table, &asking("")).await.unwrap();
    assert_eq!(pair.decode.chooser(), Chooser::Fallback { cause: FailureCause::NoChoice });
    assert_eq!((failures(&factory, "no_choice"), sgl_testkit::plugins::stats(&factory).fallbacks), (1, 1));
    table
        .workers()
        .iter()
        .filter(|one| one.role() == WorkerRole::Decode)
        .for_each(|one| one.set_healthy(false));
    let error = policy.decide_pair_async(&table, &asking("")).await.unwrap_err();
    assert_eq!(error, DecideError::NoWorker);
    assert_eq!((failures(&factory, "no_choice"), sgl_testkit::plugins::stats(&factory).fallbacks), (1, 1));
}

#[tokio::test]
async fn pair_is_refused_by_a_plugin_that_may_refuse() {
    let options = PluginOptions { may_refuse: true, ..PluginOptions::default() };
    for wasm in [pairing(), sgl_testkit::small_guests::guest("(i64.const 0)")] {
        let (factory, policy) = loaded_with(config("test"), options.clone(), wasm).await;
        let table = fleet_of_roles().table();
        let error = policy.decide_pair_async(&table, &asking("")).await.unwrap_err();
        assert!(matches!(error, DecideError::Refused { .. }), "{error:?}");
        assert_eq!(
            (failures(&factory, "no_choice"), sgl_testkit::plugins::stats(&factory).fallbacks),
            (1, 0)
        );
    }
}

/// A guest without `select_worker_pair` that logs its questions and chooses the first worker that
/// may be chosen, among 8.
fn first_healthy() -> Vec<u8> {
    let fields = format!("{HOST}{}{ECHO}", manifest(&[Input::Healthy, Input::Leg]));
    let body = format!(
        r#"(call $echo (i32.const 83) (local.get $ptr) (local.get $len))
           (i32.store8 (i32.const 16) (i32.ctz
             (i32.load8_u (i32.sub (i32.add (local.get $ptr) (local.get $len)) (i32.const 2)))))
           {}"#,
        answer(16, 1)
    );
    guest_with(&fields, &body)
}

#[tokio::test]
async fn guest_without_pairs_is_asked_twice_with_the_legs_of_the_request() {
    catch_logs();
    let (_factory, policy) = loaded_with(config("legs"), PluginOptions::default(), first_healthy()).await;
    take_lines("legs");
    let table = fleet_of_roles().table();
    let pair = policy.decide_pair_async(&table, &SelectWorkerInfo::default()).await.unwrap();
    assert_eq!(indexes(&pair), (1, 2));
    let both = take_echo("legs", 'S');
    let (first, second) = both.split_at(both.len() / 2);
    let (first, second) = (Value::decode(first), Value::decode(second));
    assert_eq!((first.items()[2].int(), second.items()[2].int()), (1, 2));
    assert_eq!(first.items()[1].bits(), [1, 3], "the prefill workers");
    assert_eq!(second.items()[1].bits(), [2, 4], "the decode workers");
}

fn slice_of(roles: &[WorkerRole]) -> Vec<Arc<dyn Worker>> {
    let worker = |(index, role): (usize, &WorkerRole)| Arc::new(BasicWorker::new(spec(index, *role))) as _;
    roles.iter().enumerate().map(worker).collect()
}

#[tokio::test]
async fn indexes_of_a_pair_count_in_their_own_slices() {
    use WorkerRole::{Decode, Prefill};
    let (prefill, decode) = (slice_of(&[Prefill; 3]), slice_of(&[Decode; 2]));
    let (_factory, jointly) = loaded_with(config("test"), PluginOptions::default(), pairing()).await;
    assert_eq!(jointly.select_worker_pair(&prefill, &decode, &asking(&prompt(0o24))), Some((2, 1)));
    let (_factory, twice) = loaded_with(config("two"), PluginOptions::default(), first_healthy()).await;
    assert_eq!(twice.select_worker_pair(&prefill, &decode, &SelectWorkerInfo::default()), Some((0, 0)));
}

#[tokio::test]
async fn role_in_a_pair_is_that_of_the_slice_whatever_the_workers_say_of_themselves() {
    let (factory, jointly) = loaded_with(config("test"), PluginOptions::default(), pairing()).await;
    let (_factory, twice) = loaded_with(config("two"), PluginOptions::default(), first_healthy()).await;
    for (first, second) in [
        (WorkerRole::Regular, WorkerRole::Regular),
        (WorkerRole::Decode, WorkerRole::Prefill),
        (WorkerRole::Prefill, WorkerRole::Decode),
    ] {
        let (prefill, decode) = (slice_of(&[first; 3]), slice_of(&[second; 2]));
        let pair = jointly.select_worker_pair(&prefill, &decode, &asking(&prompt(0o24)));
        assert_eq!(pair, Some((2, 1)), "{first} {second}");
        let pair = twice.select_worker_pair(&prefill, &decode, &SelectWorkerInfo::default());
        assert_eq!(pair, Some((0, 0)), "{first} {second}");
        let native = factory.create_by_name("least_load").unwrap();
        let pair = native.select_worker_pair(&prefill, &decode, &SelectWorkerInfo::default()).unwrap();
        assert!(pair.0 < 3 && pair.1 < 2, "{pair:?}");
    }
    assert_eq!(failures(&factory, "invalid_choice"), 0);
    // A worker that was offered for decoding is no choice for prefill.
    let (prefill, decode) = (slice_of(&[WorkerRole::Decode]), slice_of(&[WorkerRole::Prefill; 2]));
    assert!(jointly.select_worker_pair(&prefill, &decode, &asking(&prompt(0o12))).is_some());
    assert_eq!(failures(&factory, "invalid_choice"), 1);
}

/// A guest that echoes the facts of workers that it is told.
fn told() -> Vec<u8> {
    let fields = format!(
        r#"{HOST}{}{ECHO}(data (i32.const 16) "\92\00\01")
        (func (export "on_workers") (param $ptr i32) (param $len i32)
          (call $echo (i32.const 87) (local.get $ptr) (local.get $len)))
        (func (export "select_worker_pair") (param i32 i32) (result i64) {})"#,
        manifest(&[Input::PromptBytes]),
        answer(16, 3)
    );
    guest_with(&fields, "(i64.const 0)")
}

#[tokio::test]
async fn guest_is_told_the_roles_of_the_slices_and_told_again_when_they_are_divided_elsewhere() {
    catch_logs();
    let options = PluginOptions { min_warm: 1, max_instances: 1, ..PluginOptions::default() };
    let (_factory, policy) = loaded_with(config("roles"), options, told()).await;
    take_lines("roles");
    let workers = slice_of(&[WorkerRole::Regular; 3]);
    let info = SelectWorkerInfo::default();
    for boundary in [1, 2] {
        let (prefill, decode) = workers.split_at(boundary);
        policy.select_worker_pair(prefill, decode, &info);
        let table = Value::decode(&take_echo("roles", 'W'));
        let roles: Vec<_> = table.get("workers").items().iter().map(|worker| worker.get("role")).collect();
        let role = |index| Value::str(if index < boundary { "prefill" } else { "decode" });
        assert_eq!(roles, [&role(0), &role(1), &role(2)]);
        policy.select_worker_pair(prefill, decode, &info);
        assert!(take_lines("roles").is_empty(), "it knows them");
    }
}
