//! Making an instance, and what a decision costs that makes one for itself.
//!
//! `by-hand` is wasmtime alone, with its pooling allocator and without; `engine` is what this router
//! does for an instance before it may decide, but for the decisions that warm it.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion};
use sglang_router_rs::internals::{HostServices, Trial};
use wasmtime::{Config, InstanceAllocationStrategy};

use crate::floor::{Floor, Messages};
use crate::{by_hand, pool};

pub(crate) fn instantiate(c: &mut Criterion) {
    let mut group = c.benchmark_group("instantiate");
    for (name, strategy) in [
        ("on-demand", InstanceAllocationStrategy::OnDemand),
        ("pooling", InstanceAllocationStrategy::Pooling(by_hand::pooling())),
    ] {
        let mut config = Config::new();
        config.epoch_interruption(true).allocation_strategy(strategy);
        let pre = by_hand::prepared(&config);
        group.bench_function(BenchmarkId::new("by-hand", name), |b| {
            b.iter(|| {
                let mut store = by_hand::store(&pre);
                black_box(pre.instantiate(&mut store).expect("an instance"));
            });
        });
        // One decision over eight workers by an instance of its own, as middleware of other routers
        // does it.
        let messages = Messages::new(8);
        group.bench_function(BenchmarkId::new("per-call", name), |b| {
            b.iter(|| black_box(Floor::with(by_hand::store(&pre), &pre, &messages).call()));
        });
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let compiled = pool::compiled();
    let services: Arc<dyn HostServices> = Arc::new(pool::NoServices);
    let init = pool::init_message();
    group.bench_function("engine", |b| {
        b.to_async(&runtime).iter(|| async {
            let budget = Duration::from_secs(1);
            let made = Trial::start(&compiled, Arc::clone(&services), budget, &init).await;
            black_box(made.expect("an instance"));
        });
    });
    group.finish();
}
