//! What decisions notice of a plugin that spins to its budget all the time.
//!
//! One thread decides with a well-behaved plugin. Beside it another thread is busy in every round,
//! so that both kinds of rounds take the same processors: with ordinary work, or with a plugin that
//! never ends by itself.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use sglang_router_rs::config::BreakerOptions;
use sglang_router_rs::core::WorkerTable;
use sglang_router_rs::policies::{
    Load, PluginOptions, PolicyFactory, PolicyHandle, SelectWorkerInfo, WasmPolicyConfig,
};

use crate::stage;
use crate::stage::Length;

const WORKERS: usize = 64;

/// Well-behaved while it is tried and warmed.
const SPINNER: &str = r#"(module
  (memory (export "memory") 1)
  (global $calls (mut i32) (i32.const 0))
  (func (export "init"))
  (func (export "alloc") (param i32) (result i32) i32.const 1024)
  (func (export "dealloc") (param i32 i32))
  (func (export "select_worker") (param i32 i32) (result i64) 
    (global.set $calls (i32.add (global.get $calls) (i32.const 1)))
    (if (i32.gt_u (global.get $calls) (i32.const 4)) (then (loop $for_ever br $for_ever)))
    i64.const 0x8_0000_0001))"#;

pub(crate) fn run(length: Length) {
    let (rounds, time) = length.rounds(Duration::from_millis(1500));
    let runtime = stage::runtime();
    let factory = PolicyFactory::new();
    let policy = runtime.block_on(stage::load(&factory, "well-behaved", PluginOptions::default()));
    let spinner = runtime.block_on(spinner(&factory));
    let fleet = stage::fleet(WORKERS);
    let table = fleet.table();
    let (mut calm, mut beside) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        calm.push(round(&policy, &table, time, &|| {
            let until = Instant::now() + Duration::from_millis(10);
            while Instant::now() < until {}
        }));
        beside.push(round(&policy, &table, time, &|| {
            // Fails, and the fallback decides.
            spinner.decide(&table, &SelectWorkerInfo::default()).expect("a decision");
        }));
    }
    println!("{WORKERS} workers, {rounds} rounds of {time:?} each");
    println!("{:<8}{:>12}{:>16}{:>8}", "", "busy thread", "busy plugin", "ratio");
    for (name, quantile) in [("p50", 0.5), ("p99", 0.99), ("p99.9", 0.999)] {
        let calm = stage::median_quantile(&calm, quantile);
        let beside = stage::median_quantile(&beside, quantile);
        println!("{name:<8}{calm:>9.0} ns{beside:>13.0} ns{:>8.2}", beside / calm);
    }
}

/// A plugin that spends its whole budget in every decision, and no breaker that would stop it.
async fn spinner(factory: &PolicyFactory) -> PolicyHandle {
    let wasm = wat::parse_str(SPINNER).expect("valid");
    let options = PluginOptions {
        self_test: false,
        breaker: BreakerOptions { failures: 0, max_lost_percent: 0, ..BreakerOptions::default() },
        ..PluginOptions::default()
    };
    let config = WasmPolicyConfig::new("spinner", "from memory");
    factory.load(Load::bytes(config, wasm).with(options)).await.expect("it loads");
    factory.create_by_name("spinner").expect("it is there")
}

/// Sorted times of the decisions of a round, in nanoseconds, while another thread does `other`.
fn round(policy: &PolicyHandle, table: &WorkerTable, time: Duration, other: &(dyn Fn() + Sync)) -> Vec<u32> {
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                other();
            }
        });
        let mut times = Vec::new();
        let began = Instant::now();
        while began.elapsed() < time {
            stage::burst(policy, table, &mut times);
        }
        done.store(true, Ordering::Relaxed);
        times.sort_unstable();
        times
    })
}
