//! The worker table: told before the first decision that needs it, and only then.

use std::collections::BTreeMap;
use std::sync::Arc;

use sgl_policy_abi::Input;
use sgl_testkit::commanded::ECHO;
use sgl_testkit::fleets::{fleet, slice};
use sgl_testkit::manifest::manifest;
use sgl_testkit::plugins::{config, failures, loaded_with};
use sgl_testkit::small_guests::guest_with;
use sgl_testkit::text::{HOST, answer};
use sglang_router_rs::core::{BasicWorker, EngineFacts, Fleet, ModelNames, Worker, WorkerRole, WorkerSpec};
use sglang_router_rs::policies::{
    LoadBalancingPolicy, PluginOptions, PolicyFactory, PolicyHandle, SelectWorkerInfo,
};

use crate::capture::{catch_logs, take_echo, take_lines};
use crate::decoder::Value;

const NOTHING: SelectWorkerInfo<'static> = SelectWorkerInfo::NOTHING;

/// Logs each table under `W` (if `echo`) and counts them in slot 1; answers how many it was told
/// of, and an error if a decision came for another version than the last it was told.
async fn listening(name: &str, instances: usize, echo: bool) -> (PolicyFactory, PolicyHandle) {
    listening_within(16 << 20, name, instances, echo).await
}

/// The same in so many bytes of memory.
async fn listening_within(
    memory: usize,
    name: &str,
    instances: usize,
    echo: bool,
) -> (PolicyFactory, PolicyHandle) {
    catch_logs();
    let echo = if echo { "(call $echo (i32.const 87) (local.get 0) (local.get 1))" } else { "" };
    let manifest = manifest(&[Input::Load]);
    // The version stands behind {"version": in the table and behind the array's head in the
    // question; its encoding is the same.
    let fields = format!(
        r#"{HOST}{manifest}{ECHO}
        (global $told (mut i64) (i64.const 0))
        (func $version (param $at i32) (result i64)
          (if (i32.eq (i32.load8_u (local.get $at)) (i32.const 0xcd)) (then (return
            (i64.extend_i32_u (i32.load16_u (i32.add (local.get $at) (i32.const 1)))))))
          (if (i32.eq (i32.load8_u (local.get $at)) (i32.const 0xcc)) (then (return
            (i64.extend_i32_u (i32.load8_u (i32.add (local.get $at) (i32.const 1)))))))
          (i64.extend_i32_u (i32.load8_u (local.get $at))))
        (func (export "on_workers") (param i32 i32)
          {echo}
          (global.set $told (call $version (i32.add (local.get 0) (i32.const 9))))
          (drop (call $count (i32.const 1) (i64.const 1))))
        (data (i32.const 32) "\81\a5error\a5stale")"#
    );
    let body = format!(
        r#"(if (i64.ne (global.get $told) (call $version (i32.add (local.get $ptr) (i32.const 1))))
             (then (return {})))
           (i32.store8 (i32.const 16) (i32.wrap_i64 (call $count (i32.const 1) (i64.const 0))))
           {}"#,
        answer(32, 13),
        answer(16, 1)
    );
    let options = PluginOptions { min_warm: instances, max_instances: instances, ..Default::default() };
    let mut config = config(name);
    config.max_memory_bytes = memory;
    let loaded = loaded_with(config, options, guest_with(&fields, &body)).await;
    take_lines(name);
    loaded
}

#[tokio::test]
async fn table_arrives_with_all_static_facts() {
    let (_factory, policy) = listening("facts", 1, true).await;
    let fleet = Fleet::new();
    let labels = BTreeMap::from([("zone".to_owned(), "b".to_owned()), ("gpu".to_owned(), "h100".to_owned())]);
    for (index, role) in
        [WorkerRole::Regular, WorkerRole::Prefill, WorkerRole::Decode].into_iter().enumerate()
    {
        let model = (index > 0).then(|| format!("model-{index}"));
        let labels = if index == 2 { labels.clone() } else { BTreeMap::new() };
        let url = format!("http://wörker{index}:80");
        let engine = if index == 1 {
            EngineFacts {
                name: Some("vllm".into()),
                block_size: Some(16),
                dp_rank: Some(0),
                models: ModelNames::new(["model-1", "sql"]),
                ..EngineFacts::UNKNOWN
            }
        } else {
            EngineFacts::UNKNOWN
        };
        let spec = WorkerSpec { role, model, weight: 1.5, labels, engine, ..WorkerSpec::new(url) };
        fleet.add(spec, true).unwrap();
    }
    policy.decide_async(&fleet.table(), &NOTHING).await.unwrap();
    let message = Value::decode(&take_echo("facts", 'W'));
    assert!(message.get("version").int() > 0);
    let workers = message.get("workers").items();
    assert_eq!(workers.len(), 3);
    for (index, role) in ["regular", "prefill", "decode"].into_iter().enumerate() {
        assert_eq!(workers[index].get("url"), &Value::Str(format!("http://wörker{index}:80")));
        assert_eq!(workers[index].get("role"), &Value::str(role));
        assert_eq!(workers[index].get("weight"), &Value::Float(1.5));
    }
    assert_eq!(workers[0].get("model"), &Value::Nil);
    assert_eq!(workers[1].get("model"), &Value::str("model-1"));
    assert_eq!(workers[1].get("engine"), &Value::str("vllm"));
    assert_eq!((workers[1].get("block_size").int(), workers[1].get("dp_rank").int()), (16, 0));
    assert_eq!(workers[1].get("models"), &Value::Array(vec![Value::str("model-1"), Value::str("sql")]));
    assert!(!workers[0].has("models"), "what is not known is left out");
    assert_eq!(workers[0].get("labels"), &Value::Map(vec![]));
    assert_eq!(workers[2].get("labels").get("zone"), &Value::str("b"));
    assert_eq!(workers[2].get("labels").get("gpu"), &Value::str("h100"));
}

#[tokio::test]
async fn names_of_models_take_no_more_than_their_share_of_a_plugins_memory() {
    let (factory, policy) = listening_within(1 << 19, "names", 1, true).await;
    let fleet = Fleet::new();
    for worker in 0..9 {
        let names: Vec<String> = (0..70).map(|name| format!("{worker:03}-{name:096}")).collect();
        let models = ModelNames::new(names.iter().map(String::as_str));
        let engine = EngineFacts { models, ..EngineFacts::UNKNOWN };
        fleet.add(WorkerSpec { engine, ..WorkerSpec::new(format!("http://w{worker}")) }, true).unwrap();
    }
    policy.decide_async(&fleet.table(), &NOTHING).await.unwrap();
    let message = Value::decode(&take_echo("names", 'W'));
    let told = message.get("workers").items().iter().filter(|worker| worker.has("models"));
    let told: Vec<usize> = told.map(|worker| worker.get("models").items().len()).collect();
    // A thirty-second of 512 KiB, and 64 names of 100 bytes with three before each.
    assert_eq!(told, vec![64; (1 << 19) / 32 / (64 * 103)]);
    assert_eq!(sgl_testkit::plugins::stats(&factory).fallbacks, 0);
}

#[tokio::test]
async fn instance_is_told_once_for_each_version_of_the_table() {
    let (factory, policy) = listening("versions", 1, false).await;
    let fleet = fleet(20);
    let table = fleet.table();
    for _ in 0..3 {
        assert_eq!(policy.decide_async(&table, &NOTHING).await.unwrap().index(), 1);
        assert_eq!(policy.decide(&table, &NOTHING).unwrap().index(), 1);
    }
    table.workers()[0].set_healthy(false);
    assert_eq!(policy.decide(&table, &NOTHING).unwrap().index(), 1, "health is no static fact");
    fleet.add(WorkerSpec::new("http://more"), true).unwrap();
    assert_eq!(policy.decide(&fleet.table(), &NOTHING).unwrap().index(), 2);
    fleet.remove("http://w4").unwrap();
    assert_eq!(policy.decide_async(&fleet.table(), &NOTHING).await.unwrap().index(), 3);
    assert_eq!(policy.decide(&fleet.table(), &NOTHING).unwrap().index(), 3);
    assert_eq!(failures(&factory, "guest_error"), 0);
}

#[tokio::test]
async fn unchanged_slice_is_not_sent_again() {
    let (_factory, policy) = listening("slice", 1, false).await;
    let workers = slice(9);
    let copy: Vec<Arc<dyn Worker>> = workers.clone();
    assert_eq!(policy.select_worker(&workers, &NOTHING), Some(1));
    assert_eq!(policy.select_worker(&workers, &NOTHING), Some(1));
    assert_eq!(policy.select_worker(&copy, &NOTHING), Some(1), "the same workers in another slice");
    assert_eq!(policy.select_worker_async(&copy, &NOTHING).await.unwrap().index(), 1);
    let other = slice(9);
    assert_eq!(policy.select_worker(&other, &NOTHING), Some(2), "equal text, other workers");
    assert_eq!(policy.select_worker(&other[..8], &NOTHING), Some(3));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn decisions_never_run_on_a_table_that_their_instance_was_not_told_of() {
    let (factory, policy) = listening("churn", 4, false).await;
    let fleet = Arc::new(fleet(100));
    let mut callers = tokio::task::JoinSet::new();
    for caller in 0..16 {
        let (policy, fleet) = (policy.clone(), Arc::clone(&fleet));
        callers.spawn(async move {
            for round in 0..100 {
                if (caller + round) % 10 == 0 {
                    fleet.add(WorkerSpec::new(format!("http://x{caller}-{round}")), true).unwrap();
                    fleet.remove(&format!("http://x{caller}-{round}")).unwrap();
                }
                policy.decide_async(&fleet.table(), &NOTHING).await.ok();
            }
        });
    }
    while let Some(done) = callers.join_next().await {
        done.unwrap();
    }
    // The counter soon exceeds the table, which is an invalid choice, but never a stale table.
    assert_eq!(failures(&factory, "guest_error"), 0);
    assert_eq!(failures(&factory, "decode"), 0);
}

#[tokio::test]
async fn each_of_several_instances_is_told_for_itself() {
    let (factory, policy) = listening("several", 3, false).await;
    let table = fleet(50).table();
    let mut told = 0;
    // Callers on threads of their own find instances of their own sooner or later.
    for _ in 0..1000 {
        let decide = || policy.decide(&table, &NOTHING).unwrap().index();
        std::thread::scope(|scope| {
            let callers: Vec<_> = (0..3).map(|_| scope.spawn(decide)).collect();
            told = callers.into_iter().map(|caller| caller.join().unwrap()).max().unwrap().max(told);
        });
    }
    assert!((1..=3).contains(&told), "{told} tables for 3 instances");
    assert_eq!(failures(&factory, "guest_error"), 0);
}

#[tokio::test]
async fn input_buffer_grows_with_the_table() {
    for (count, name) in [(1000, "large-1000"), (10_000, "large-10000")] {
        let (factory, policy) = listening(name, 1, false).await;
        let workers: Vec<Arc<dyn Worker>> = (0..count)
            .map(|index| Arc::new(BasicWorker::new(WorkerSpec::new(format!("http://w{index}")))) as _)
            .collect();
        assert_eq!(policy.select_worker(&slice(3), &NOTHING), Some(1), "small first");
        assert_eq!(policy.select_worker(&workers, &NOTHING), Some(2));
        assert_eq!(policy.select_worker_async(&workers, &NOTHING).await.unwrap().index(), 2);
        assert_eq!(policy.select_worker(&slice(4), &NOTHING), Some(3), "and small again");
        let stats = sgl_testkit::plugins::stats(&factory);
        assert_eq!((stats.fallbacks, stats.pool.discarded), (0, 0));
    }
}

#[tokio::test]
async fn all_of_a_large_message_reaches_the_guest() {
    let (_factory, policy) = listening("whole", 1, true).await;
    let table = fleet(300).table();
    policy.decide(&table, &NOTHING).unwrap();
    let message = Value::decode(&take_echo("whole", 'W'));
    let urls: Vec<&Value> = message.get("workers").items().iter().map(|worker| worker.get("url")).collect();
    assert_eq!(urls.len(), 300);
    for (index, worker) in table.workers().iter().enumerate() {
        assert_eq!(urls[index], &Value::str(worker.url()));
    }
}
