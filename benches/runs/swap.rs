//! What decisions notice of swaps: their times with and without a storm of loads that compile.
//!
//! On as many threads as there are cores, each of which decides in bursts.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use sglang_router_rs::config::ProbationOptions;
use sglang_router_rs::core::WorkerTable;
use sglang_router_rs::policies::{Load, PluginOptions, PolicyFactory, PolicyHandle, WasmPolicyConfig};

use crate::stage;
use crate::stage::Length;

const WORKERS: usize = 64;

/// Between two swaps.
const PERIOD: Duration = Duration::from_millis(500);

const QUANTILES: [(&str, f64); 4] = [("p50", 0.5), ("p99", 0.99), ("p99.9", 0.999), ("p99.99", 0.9999)];

pub(crate) fn run(length: Length) {
    let (rounds, time) = match length {
        Length::Full => (9, Duration::from_secs(3)),
        Length::Short => (1, Duration::from_millis(600)),
    };
    let runtime = stage::runtime();
    let wasm = std::fs::read(stage::module("plugins/least_connections.wasm")).expect("it is readable");
    let factory = PolicyFactory::new();
    let load = async || {
        // The default budget is there for guests that hang; here a busy machine must fail nothing.
        let config = WasmPolicyConfig {
            max_execution_time_ms: 30_000,
            ..WasmPolicyConfig::new("storm", "from memory")
        };
        let probation = ProbationOptions { secs: 0, ..ProbationOptions::default() };
        let options = PluginOptions { probation, ..PluginOptions::default() };
        factory.load(Load::bytes(config, wasm.clone()).with(options)).await.expect("it loads");
    };
    runtime.block_on(load());
    let policy = factory.create_by_name("storm").expect("it is there");
    let fleet = stage::fleet(WORKERS);
    let (mut calm, mut stormy) = (Vec::new(), Vec::new());
    let mut swaps = 0;
    for _ in 0..rounds {
        calm.push(round(&policy, &fleet.table(), time, || ()));
        stormy.push(round(&policy, &fleet.table(), time, || {
            runtime.block_on(load());
            swaps += 1;
        }));
    }
    println!("{WORKERS} workers, {rounds} rounds of {time:?} each, {swaps} swaps, {} threads", threads());
    println!("{:<8}{:>12}{:>12}{:>8}", "", "calm", "swaps", "ratio");
    for (name, quantile) in QUANTILES {
        let calm = stage::median_quantile(&calm, quantile);
        let stormy = stage::median_quantile(&stormy, quantile);
        println!("{name:<8}{calm:>9.0} ns{stormy:>9.0} ns{:>8.2}", stormy / calm);
    }
}

fn threads() -> usize {
    thread::available_parallelism().map_or(1, usize::from)
}

/// Sorted times of all decisions of a round, in nanoseconds; `swap` is called every half second.
fn round(
    policy: &PolicyHandle,
    table: &Arc<WorkerTable>,
    time: Duration,
    mut swap: impl FnMut(),
) -> Vec<u32> {
    let done = AtomicBool::new(false);
    let mut all = thread::scope(|scope| {
        let deciders: Vec<_> = (0..threads()).map(|_| scope.spawn(|| decide(policy, table, &done))).collect();
        let start = Instant::now();
        while start.elapsed() < time {
            let next = Instant::now() + PERIOD;
            swap();
            thread::sleep(next.saturating_duration_since(Instant::now()));
        }
        done.store(true, Ordering::Relaxed);
        deciders.into_iter().flat_map(|decider| decider.join().expect("it decides")).collect::<Vec<u32>>()
    });
    all.sort_unstable();
    all
}

fn decide(policy: &PolicyHandle, table: &WorkerTable, done: &AtomicBool) -> Vec<u32> {
    let mut times = Vec::with_capacity(1 << 20);
    while !done.load(Ordering::Relaxed) {
        stage::burst(policy, table, &mut times);
    }
    times
}
