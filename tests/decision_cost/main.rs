//! What a decision may cost whatever the machine, and what the head of a stream that is held for its
//! first event may: no allocation, in any form.
//!
//! A target of its own: the counting allocator is that of the whole process. System calls and locks
//! are counted from outside, by scripts/decision_trace.sh.

use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Waker};

use sgl_policy_abi::Input;
use sgl_testkit::manifest::manifest;
use sgl_testkit::plugins::{config, loaded_with};
use sgl_testkit::small_guests::guest_with;
use sgl_testkit::text::{answer, escaped};
use sglang_router_rs::config::LaneOption;
use sglang_router_rs::core::{BasicWorker, Column, Fleet, Worker, WorkerSpec, WorkerTable};
use sglang_router_rs::policies::{
    Load, LoadBalancingPolicy, PluginOptions, PolicyFactory, PolicyHandle, SelectWorkerInfo, WasmPolicyConfig,
};

/// More than one in sixteen, which is timed, and some that find a tick gone by.
const DECISIONS: usize = 1000;

async fn least_connections(lane: LaneOption) -> (PolicyFactory, PolicyHandle) {
    let module = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("dist/plugins/least_connections.wasm");
    let factory = PolicyFactory::new();
    let config = WasmPolicyConfig {
        max_execution_time_ms: 10_000,
        ..WasmPolicyConfig::new("plugin", module.to_string_lossy())
    };
    let options = PluginOptions { lane, ..PluginOptions::default() };
    factory.load(Load::file(config).with(options)).await.expect("it loads");
    let policy = factory.create_by_name("plugin").expect("it is there");
    (factory, policy)
}

fn table(workers: usize) -> Arc<WorkerTable> {
    let fleet = Fleet::new();
    for index in 0..workers {
        fleet.add(WorkerSpec::new(format!("http://w{index}")), true).expect("a new URL");
    }
    fleet.table()
}

/// Allocations of this thread in many decisions, after some that may allocate: the guest is told
/// of the workers.
fn allocations(mut decide: impl FnMut()) -> u64 {
    (0..100).for_each(|_| decide());
    allocation_counter::measure(|| (0..DECISIONS).for_each(|_| decide())).count_total
}

#[tokio::test]
async fn decision_that_is_in_the_books_allocates_nothing() {
    let columns = Column::ALL.map(Input::Column);
    let bytes = [0x93, 1, 7, 0xca, 0x3f, 0xc0, 0, 0];
    let fields = format!(r#"{}(data (i32.const 16) "{}")"#, manifest(&columns), escaped(&bytes));
    let wasm = guest_with(&fields, &answer(16, 8));
    let (_factory, policy) = loaded_with(config("plugin"), PluginOptions::default(), wasm).await;
    let table = table(64);
    let info = SelectWorkerInfo { request_text: Some("What is a router?"), ..SelectWorkerInfo::NOTHING };
    let decide = || {
        let decision = policy.decide(&table, &info).unwrap();
        assert_eq!((decision.tag(), decision.cost()), (Some(7), 1.5));
        assert!(decision.into_in_flight().is_booked());
    };
    assert_eq!(allocations(decide), 0);
}

/// Drives a decision on this thread.
fn waiting(policy: &PolicyHandle, table: &WorkerTable) {
    let info = SelectWorkerInfo::default();
    let mut decision = pin!(policy.decide_async(table, &info));
    let mut context = Context::from_waker(Waker::noop());
    while decision.as_mut().poll(&mut context).is_pending() {}
}

#[tokio::test]
async fn blocking_decision_allocates_nothing() {
    let (_factory, policy) = least_connections(LaneOption::Fiber).await;
    for workers in [2, 64, 1000] {
        let table = table(workers);
        let decide = || drop(policy.decide(&table, &SelectWorkerInfo::default()).unwrap());
        assert_eq!(allocations(decide), 0, "{workers} workers");
    }
}

#[tokio::test]
async fn decision_over_an_embedders_workers_allocates_nothing() {
    let (_factory, policy) = least_connections(LaneOption::Fiber).await;
    let worker =
        |index| Arc::new(BasicWorker::new(WorkerSpec::new(format!("http://w{index}")))) as Arc<dyn Worker>;
    let workers: Vec<_> = (0..64).map(worker).collect();
    let decide = || assert!(policy.select_worker(&workers, &SelectWorkerInfo::default()).is_some());
    assert_eq!(allocations(decide), 0);
}

#[tokio::test]
async fn asynchronous_decision_allocates_nothing_of_its_own() {
    let table = table(64);
    let (_factory, policy) = least_connections(LaneOption::Adaptive).await;
    // One that lost its processor moves the plugin to a fiber for a while: then as below.
    let adaptive = allocations(|| waiting(&policy, &table));
    assert!(adaptive <= FIBER * DECISIONS as u64, "{adaptive}");
    let (_factory, policy) = least_connections(LaneOption::Fiber).await;
    // A decision that lost its processor for two ticks gives way, which costs a box: another run then.
    let undisturbed = (0..20).map(|_| allocations(|| waiting(&policy, &table))).min();
    assert_eq!(undisturbed, Some(FIBER * DECISIONS as u64));
}

/// Allocations that wasmtime makes for a call on a fiber.
const FIBER: u64 = 1;
