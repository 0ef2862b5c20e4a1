//! Each with its default settings: whatever is known of requests and workers, they decide.

use sgl_testkit::fleets::fleet;
use sgl_testkit::modules::{plugin, shipped};
use sgl_testkit::plugins::{config, loaded_with, stats, without_probation};
use sglang_router_rs::core::{Fleet, WorkerSpec};
use sglang_router_rs::policies::{SelectWorkerInfo, WasmPolicyConfig};

use crate::shipped::asked::{none_failed, requests, tell};

#[tokio::test]
async fn every_shipped_plugin_decides_whatever_is_known() {
    let long = "no whole block of these words is like another ".repeat(5_000);
    for name in shipped() {
        let limits = WasmPolicyConfig { max_memory_bytes: 16 << 20, ..config(&name) };
        let (factory, policy) = loaded_with(limits, without_probation(), plugin(&name)).await;
        let mut asked = 0;
        for workers in [1, 2, 17, 300] {
            let table = fleet(workers).table();
            let mut placed = Vec::new();
            for turn in 0..4 {
                for info in requests(&long) {
                    let decision = policy.decide_async(&table, &info).await;
                    let decision =
                        decision.unwrap_or_else(|error| panic!("{name}, {workers} workers: {error:?}"));
                    assert!(decision.index() < workers, "{name}");
                    asked += 1;
                    placed.push((turn + asked, decision));
                }
            }
            placed.iter().for_each(|(turn, decision)| tell(&policy, decision, decision.index(), *turn));
        }
        none_failed(&name, &stats(&factory));
    }
}

#[tokio::test]
async fn every_shipped_plugin_takes_odd_workers_as_they_are() {
    for name in shipped() {
        let (factory, policy) = loaded_with(config(&name), without_probation(), plugin(&name)).await;
        let workers = Fleet::new();
        for (index, weight) in [1e-3, 1e9, 1.0, 2.0].into_iter().enumerate() {
            let mut spec = WorkerSpec::new(format!("http://w{index}"));
            spec.weight = weight;
            spec.labels.insert("pool".to_owned(), "\u{1f980}".repeat(index));
            workers.add(spec, true).expect("a new URL");
        }
        for table in [workers.table(), fleet(3).table(), workers.table()] {
            for _ in 0..20 {
                let decision =
                    policy.decide_async(&table, &SelectWorkerInfo::default()).await.expect("it decides");
                assert!(decision.index() < 4, "{name}");
            }
        }
        none_failed(&name, &stats(&factory));
    }
}
