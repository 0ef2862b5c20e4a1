//! Group `decision`.

use std::hint::black_box;

use criterion::BenchmarkId;
use criterion::Criterion;
use sglang_router_rs::config::Lane;
use sglang_router_rs::core::Fleet;
use sglang_router_rs::core::WorkerSpec;
use sglang_router_rs::policies::*;

fn fleet(count: usize) -> Fleet {
    let fleet = Fleet::new();
    for i in 0..count {
        fleet.add(WorkerSpec::new(format!("http://10.0.{}.{}:30000", i / 250, i % 250)), true).expect("new");
    }
    fleet
}

pub fn decision(c: &mut Criterion) {
    let rt = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("runtime");
    let factory = PolicyFactory::new();
    let path =
        concat!(env!("CARGO_MANIFEST_DIR"), "/target/wasm32-unknown-unknown/plugin/least_connections.wasm");
    for (name, lane) in [("fiber", Lane::Fiber), ("adaptive", Lane::Adaptive)] {
        let mut config = WasmPolicyConfig::new(name, path);
        config.max_execution_time_ms = 100;
        rt.block_on(
            factory.load_wasm_plugin_with(config, PluginOptions { lane, ..PluginOptions::default() }),
        )
        .expect("loads");
    }
    let info = SelectWorkerInfo::default();
    let mut group = c.benchmark_group("decision");
    for count in [2, 8, 64, 1000, 10_000] {
        let fleet = fleet(count);
        let table = fleet.table();
        for name in ["fiber", "adaptive"] {
            let policy = factory.create_by_name(name).expect("loaded");
            group.bench_function(BenchmarkId::new(format!("async-{name}"), format!("w{count}")), |b| {
                b.to_async(&rt).iter(|| async {
                    black_box(policy.decide_async(&table, &info).await).expect("ok").index()
                })
            });
        }
        let policy = factory.create_by_name("fiber").expect("loaded");
        group.bench_function(BenchmarkId::new("sync", format!("w{count}")), |b| {
            b.iter(|| black_box(policy.decide(&table, &info)).expect("ok").index())
        });
        let native = factory.create_by_name("least_load").expect("built in");
        group.bench_function(BenchmarkId::new("native-least_load", format!("w{count}")), |b| {
            b.iter(|| black_box(native.decide(&table, &info)).expect("ok").index())
        });
    }
    group.finish();
}
