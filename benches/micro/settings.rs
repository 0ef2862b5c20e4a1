//! What the engine's settings are worth: a call by hand and an instantiation under each of them.
//! `docs/performance.md` says which were taken.

use std::hint::black_box;
use std::time::Instant;

use criterion::{BenchmarkId, Criterion};
use wasmtime::{
    Config, Enabled, InstanceAllocationStrategy, OptLevel, PoolingAllocationConfig, RegallocAlgorithm,
};

use crate::by_hand;
use crate::floor::Floor;

/// A name, and what it changes of the engine's settings.
type Setting = (&'static str, fn(&mut Config, &mut PoolingAllocationConfig));

const SETTINGS: [Setting; 14] = [
    ("as-the-router", |_, _| {}),
    ("no-optimisation", |config, _| {
        config.cranelift_opt_level(OptLevel::None);
    }),
    ("speed-and-size", |config, _| {
        config.cranelift_opt_level(OptLevel::SpeedAndSize);
    }),
    ("single-pass-registers", |config, _| {
        config.cranelift_regalloc_algorithm(RegallocAlgorithm::SinglePass);
    }),
    ("no-epochs", |config, _| {
        config.epoch_interruption(false);
    }),
    ("fuel-for-epochs", |config, _| {
        config.epoch_interruption(false).consume_fuel(true);
    }),
    ("explicit-bounds-and-traps", |config, _| {
        config.signals_based_traps(false);
    }),
    ("stack-zeroing", |config, _| {
        config.async_stack_zeroing(true);
    }),
    ("stack-zeroing-keep-64k", |config, pooling| {
        config.async_stack_zeroing(true);
        pooling.async_stack_keep_resident(64 << 10);
    }),
    ("no-copy-on-write", |config, _| {
        config.memory_init_cow(false);
    }),
    ("keep-none", |_, pooling| {
        pooling.linear_memory_keep_resident(0).table_keep_resident(0);
    }),
    ("keep-64k", |_, pooling| {
        pooling.linear_memory_keep_resident(64 << 10);
    }),
    ("keep-4m", |_, pooling| {
        pooling.linear_memory_keep_resident(4 << 20);
    }),
    ("pagemap-scan", |_, pooling| {
        pooling.pagemap_scan(Enabled::Auto);
    }),
];

pub(crate) fn settings(c: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let mut group = c.benchmark_group("settings");
    for (name, change) in SETTINGS {
        let (mut config, mut pooling) = (Config::new(), by_hand::pooling());
        config.epoch_interruption(true);
        change(&mut config, &mut pooling);
        config.allocation_strategy(InstanceAllocationStrategy::Pooling(pooling));
        for workers in [8, 1000] {
            let mut floor = Floor::configured(&config, workers);
            let size = format!("w{workers}");
            group.bench_function(BenchmarkId::new(format!("{name}/call"), &size), |b| {
                b.iter(|| black_box(floor.call()));
            });
            group.bench_function(BenchmarkId::new(format!("{name}/call-async"), &size), |b| {
                b.iter_custom(|iterations| {
                    runtime.block_on(async {
                        let start = Instant::now();
                        for _ in 0..iterations {
                            black_box(floor.call_async().await);
                        }
                        start.elapsed()
                    })
                });
            });
        }
        let pre = by_hand::prepared(&config);
        group.bench_function(BenchmarkId::new(format!("{name}/instantiate"), "w8"), |b| {
            let messages = crate::floor::Messages::new(8);
            b.iter(|| black_box(Floor::with(by_hand::store(&pre), &pre, &messages).call()));
        });
    }
    group.finish();
}
