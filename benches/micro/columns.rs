//! What a decision costs more if its plugin declares all that the router knows of itself: the same policy
//! with the load alone, and with all of these columns.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion};
use sglang_router_rs::policies::{Load, PolicyFactory, SelectWorkerInfo, WasmPolicyConfig};

use crate::stage;

pub(crate) fn columns(c: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    // A prompt, so that requests have tokens to book.
    let info = SelectWorkerInfo { request_text: Some("What is a router?"), ..SelectWorkerInfo::NOTHING };
    let mut group = c.benchmark_group("columns");
    for count in [8, 64, 1000] {
        let fleet = stage::fleet(count);
        let table = fleet.table();
        for (id, module) in
            [("load", stage::module("least_connections")), ("all", stage::fixture("all_columns"))]
        {
            // One at a time: while a plugin that reads the books is loaded, they are kept for all decisions.
            let factory = PolicyFactory::new();
            let config = WasmPolicyConfig::new(id, module.to_string_lossy());
            runtime.block_on(factory.load(Load::file(config))).expect("it loads");
            let policy = factory.create_by_name(id).expect("it is there");
            group.bench_function(BenchmarkId::new(format!("sync-{id}"), format!("w{count}")), |b| {
                b.iter(|| black_box(policy.decide(&table, &info)).expect("a decision").index());
            });
        }
    }
    group.finish();
}
