//! A whole decision over the router's own table: plugin, native policy, and the floor, which is the
//! same guest called by hand: one instance, the same message, no pool, no checks.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion};
use sglang_router_rs::config::LaneOption;
use sglang_router_rs::policies::{Load, PluginOptions, PolicyFactory, SelectWorkerInfo, WasmPolicyConfig};

use crate::floor::Floor;
use crate::stage;

/// A factory with `least_connections` under the name of each lane.
async fn factory() -> PolicyFactory {
    let module = stage::module("least_connections");
    let factory = PolicyFactory::new();
    for (name, lane) in [("fiber", LaneOption::Fiber), ("adaptive", LaneOption::Adaptive)] {
        let config = WasmPolicyConfig::new(name, module.to_string_lossy());
        let options = PluginOptions { lane, ..PluginOptions::default() };
        factory.load(Load::file(config).with(options)).await.expect("it loads");
    }
    factory
}

pub(crate) fn decision(c: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let factory = runtime.block_on(factory());
    let policy = |name: &str| factory.create_by_name(name).expect("it is there");
    let info = SelectWorkerInfo::default();
    let mut group = c.benchmark_group("decision");
    for count in [2, 8, 64, 1000, 10_000] {
        let fleet = stage::fleet(count);
        let table = fleet.table();
        let size = format!("w{count}");
        for name in ["fiber", "adaptive"] {
            let policy = policy(name);
            group.bench_function(BenchmarkId::new(format!("async-{name}"), &size), |b| {
                b.to_async(&runtime).iter(|| async {
                    black_box(policy.decide_async(&table, &info).await).expect("a decision").index()
                });
            });
        }
        let mut floor = Floor::new(count);
        group.bench_function(BenchmarkId::new("floor-sync", &size), |b| b.iter(|| black_box(floor.call())));
        group.bench_function(BenchmarkId::new("floor-async", &size), |b| {
            b.iter_custom(|iterations| {
                runtime.block_on(async {
                    let start = std::time::Instant::now();
                    for _ in 0..iterations {
                        black_box(floor.call_async().await);
                    }
                    start.elapsed()
                })
            });
        });
        for (id, name) in [("sync", "fiber"), ("native", "least_load")] {
            let policy = policy(name);
            group.bench_function(BenchmarkId::new(id, &size), |b| {
                b.iter(|| black_box(policy.decide(&table, &info)).expect("a decision").index());
            });
        }
    }
    group.finish();
}
