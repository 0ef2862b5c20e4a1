//! Workers that come and go between calls, pairs, swaps under load, and memory that is hardly enough. What is
//! asked of single instances is in the conformance kit, which the router's tests run.

use sgl_testkit::fleets::fleet;
use sgl_testkit::modules::{plugin, shipped};
use sgl_testkit::plugins::{config, load, loaded_with, stats, without_probation};
use sglang_router_rs::core::{Fleet, Worker, WorkerRole, WorkerSpec};
use sglang_router_rs::policies::{
    DecideError, Load, PluginOptions, PolicyFactory, SelectWorkerInfo, WasmPolicyConfig, check_module,
};

use crate::shipped::asked::{none_failed, requests, tell};

const PAGE: usize = 1 << 16;

/// What an operator has who sets nothing, but for time: a busy machine must fail no test.
fn roomy(name: &str) -> WasmPolicyConfig {
    let max_memory_bytes = WasmPolicyConfig::DEFAULT_MEMORY_BYTES;
    WasmPolicyConfig { max_memory_bytes, max_execution_time_ms: 30_000, ..config(name) }
}

#[test]
fn every_shipped_module_needs_nothing_and_forgets_nothing() {
    for name in shipped() {
        let facts = check_module(&plugin(&name), config(&name).max_memory_bytes, &[]).expect("it fits");
        assert_eq!((facts.manifest.name.as_str(), &facts.oversights), (name.as_str(), &Vec::<String>::new()));
        assert!(facts.imports.iter().all(|import| import.starts_with("sgl.")), "{name}: {:?}", facts.imports);
        assert!(!facts.manifest.description.is_empty(), "{name}");
    }
}

#[tokio::test]
async fn every_shipped_plugin_follows_workers_that_come_and_go() {
    for name in shipped() {
        let (factory, policy) = loaded_with(roomy(&name), without_probation(), plugin(&name)).await;
        let workers = fleet(12);
        let mut placed = Vec::new();
        for turn in 0..400_usize {
            workers.remove(&format!("http://w{}", turn % 23));
            let back = WorkerSpec::new(format!("http://w{}", (turn * 7 + 5) % 23));
            // It may be there still.
            let _ = workers.add(back, true);
            let table = workers.table();
            for (at, worker) in table.workers().iter().enumerate() {
                worker.set_healthy(!(at + turn).is_multiple_of(3) || table.workers().len() == 1);
            }
            let session = (turn % 50).to_string();
            let info = SelectWorkerInfo { session: Some(&session), ..SelectWorkerInfo::default() };
            match policy.decide_async(&table, &info).await {
                Ok(decision) => {
                    assert!(table.get(decision.index()).expect("it is there").is_healthy(), "{name}");
                    placed.push((turn, decision));
                }
                Err(DecideError::NoWorker) => {}
                Err(error) => panic!("{name}: {error:?}"),
            }
            // Whose worker may be gone, and here again since.
            if placed.len() > 20 {
                let (turn, decision) = placed.remove(turn % 20);
                tell(&policy, &decision, turn % 23, turn);
                policy.on_session_end(&session);
            }
        }
        assert!(stats(&factory).decisions > 300, "{name}");
        none_failed(&name, &stats(&factory));
    }
}

#[tokio::test]
async fn every_shipped_plugin_chooses_pairs() {
    let workers = Fleet::new();
    for index in 0..9 {
        let role = if index % 3 == 0 { WorkerRole::Prefill } else { WorkerRole::Decode };
        workers.add(WorkerSpec { role, ..WorkerSpec::new(format!("http://w{index}")) }, true).expect("new");
    }
    let table = workers.table();
    for name in shipped() {
        let (factory, policy) = loaded_with(roomy(&name), without_probation(), plugin(&name)).await;
        for info in requests("a prompt") {
            let pair = policy.decide_pair_async(&table, &info).await;
            let pair = pair.unwrap_or_else(|error| panic!("{name}: {error:?}"));
            let role = |index: usize| table.get(index).expect("it is there").spec().role;
            let roles = (role(pair.prefill.index()), role(pair.decode.index()));
            assert_eq!(roles, (WorkerRole::Prefill, WorkerRole::Decode), "{name}");
        }
        none_failed(&name, &stats(&factory));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_shipped_plugin_is_replaced_under_load() {
    const CALLERS: usize = 3;
    const DECISIONS: usize = 200;
    for name in shipped() {
        // Nobody is turned away while generations change hands.
        let options = || PluginOptions { max_wait_ms: 60_000, ..without_probation() };
        let (factory, policy) = loaded_with(roomy(&name), options(), plugin(&name)).await;
        let workers = fleet(8);
        let callers: Vec<_> = (0..CALLERS)
            .map(|caller| {
                let (policy, table, name) = (policy.clone(), workers.table(), name.clone());
                tokio::spawn(async move {
                    for turn in 0..DECISIONS {
                        let session = format!("{caller}-{}", turn % 10);
                        let info =
                            SelectWorkerInfo { session: Some(&session), ..SelectWorkerInfo::default() };
                        let decision = policy.decide_async(&table, &info).await;
                        let decision = decision.unwrap_or_else(|error| panic!("{name}: {error:?}"));
                        tell(&policy, &decision, decision.index(), turn);
                    }
                })
            })
            .collect();
        for _ in 0..3 {
            factory.load(Load::bytes(roomy(&name), plugin(&name)).with(options())).await.expect("it loads");
        }
        for caller in callers {
            caller.await.expect("it has not panicked");
        }
        let stats = stats(&factory);
        assert_eq!((stats.decisions, stats.swaps), ((CALLERS * DECISIONS) as u64, 3), "{name}");
        none_failed(&name, &stats);
    }
}

#[tokio::test]
async fn every_shipped_plugin_with_too_little_memory_is_refused_or_made_up_for() {
    let long = "more text than there is room for ".repeat(20_000);
    let table = fleet(300).table();
    for name in shipped() {
        let initial = check_module(&plugin(&name), 1 << 20, &[]).expect("it fits").initial_memory_bytes;
        let initial = usize::try_from(initial).expect("a small number");
        for pages in 0..4 {
            let factory = PolicyFactory::new();
            let limits = WasmPolicyConfig { max_memory_bytes: initial + pages * PAGE, ..roomy(&name) };
            let loaded = factory.load(Load::bytes(limits, plugin(&name)).with(without_probation())).await;
            if let Err(error) = loaded {
                assert!(!error.to_string().is_empty(), "{name}: {pages}");
                continue;
            }
            let policy = factory.create_by_name(&name).expect("it is loaded");
            for info in requests(&long) {
                let decision = policy.decide_async(&table, &info).await;
                let decision = decision.unwrap_or_else(|error| panic!("{name}: {error:?}"));
                assert!(decision.index() < 300, "{name}");
            }
        }
        let factory = PolicyFactory::new();
        load(&factory, &name, plugin(&name)).await.expect("1 MiB is enough");
        let policy = factory.create_by_name(&name).expect("it is loaded");
        for info in requests(&long) {
            policy.decide_async(&table, &info).await.expect("it decides");
        }
        none_failed(&name, &stats(&factory));
    }
}
