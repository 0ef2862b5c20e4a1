//! Taking an instance out of its pool and putting it back, alone and among others.

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion};
use sglang_router_rs::engine::{CallError, EngineOptions};
use sglang_router_rs::internals::{
    Compiled, Engine, HostServices, InitAnswer, Pool, PoolOptions, PoolTally, Recipe, SandboxSpec, TmpLimits,
    Trial,
};
use sglang_router_rs::types::BoxFuture;

use crate::stage;

/// Instances of the contended pool: what a router on two cores gets by default.
const INSTANCES: usize = 4;

/// Long enough that nobody gives up.
const PATIENCE: Duration = Duration::from_secs(60);

/// A guest that the host does nothing for.
#[derive(Debug)]
pub(crate) struct NoServices;

impl HostServices for NoServices {
    fn log(&self, _level: u8, _line: &str) {}

    fn counter_add(&self, _slot: u32, _delta: i64) -> Option<i64> {
        None
    }

    fn kv_get(&self, _key: &[u8]) -> Option<Arc<[u8]>> {
        None
    }

    fn kv_set_for(&self, _key: &[u8], _value: &[u8], _keep: Duration) -> Result<(), i32> {
        Ok(())
    }

    fn kv_set(&self, _key: &[u8], _value: &[u8]) -> Result<(), i32> {
        Ok(())
    }

    fn tmp_full(&self) {}
}

/// Instances as they come out of `init`.
#[derive(Debug, Default)]
struct Plain(Arc<PoolTally>);

impl Recipe for Plain {
    fn tally(&self) -> Arc<PoolTally> {
        Arc::clone(&self.0)
    }

    fn init_message(&self) -> Vec<u8> {
        init_message()
    }

    fn services(&self) -> Arc<dyn HostServices> {
        Arc::new(NoServices)
    }

    fn warm<'a>(
        &'a self,
        _trial: &'a mut Trial,
        _answer: InitAnswer,
    ) -> BoxFuture<'a, Result<(), CallError>> {
        Box::pin(std::future::ready(Ok(())))
    }
}

/// What every plugin is told first.
pub(crate) fn init_message() -> Vec<u8> {
    let init = serde_json::json!({"abi": 1, "plugin": "bench", "generation": 1, "config": {}, "seed": 1});
    rmp_serde::to_vec_named(&init).expect("a message")
}

/// `least_connections`, compiled by the engine.
pub(crate) fn compiled() -> Arc<Compiled> {
    let engine = Engine::new(&EngineOptions::default()).expect("an engine");
    let wasm = std::fs::read(stage::module("least_connections")).expect("it is readable");
    let spec = SandboxSpec {
        max_memory_bytes: 16 << 20,
        allowed_syscalls: Vec::new(),
        directory: None,
        tmp_limits: TmpLimits { max_bytes: 0, max_files: 0 },
    };
    Arc::new(Compiled::new(&engine, &wasm, spec).expect("it compiles"))
}

fn options() -> PoolOptions {
    PoolOptions {
        min_warm: INSTANCES,
        max_instances: INSTANCES,
        max_waiting: 1024,
        irreplaceable: false,
        fresh: false,
        recycle_after_calls: 0,
        recycle_after: Duration::ZERO,
        recycle_growth_bytes: 0,
        make_budget: Duration::from_secs(1),
    }
}

pub(crate) fn pool(c: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.expect("a runtime");
    let pool =
        runtime.block_on(Pool::new(compiled(), Arc::new(Plain::default()), options())).expect("a pool");
    let mut group = c.benchmark_group("pool");
    group.bench_function("acquire-release", |b| {
        b.iter(|| drop(black_box(pool.try_acquire()).expect("an idle one")));
    });
    // Each task holds an instance over a turn of the runtime, as a guest on a fiber would, so that
    // more tasks than instances do wait. Time of one turn of all tasks, divided by their number.
    for tasks in [1, 2, 4, 8, 16, 32, 64] {
        group.bench_function(BenchmarkId::new("contended", format!("{tasks}-tasks")), |b| {
            b.iter_custom(|turns| runtime.block_on(contend(&pool, tasks, turns)));
        });
    }
    group.finish();
    pool.close();
}

/// `turns` acquisitions by `tasks` tasks together.
async fn contend(pool: &Arc<Pool>, tasks: u64, turns: u64) -> Duration {
    let start = Instant::now();
    let all: Vec<_> = (0..tasks)
        .map(|task| {
            let pool = Arc::clone(pool);
            let own = turns / tasks + u64::from(task < turns % tasks);
            tokio::spawn(async move {
                for _ in 0..own {
                    let lease = pool.acquire(PATIENCE).await.expect("an instance");
                    tokio::task::yield_now().await;
                    drop(black_box(lease));
                }
            })
        })
        .collect();
    for task in all {
        task.await.expect("it ends");
    }
    start.elapsed()
}
