//! What `isolation = "fresh"` costs: processor time of a decision with all that is done for it in
//! the background, beside instantiating, calling and dropping by hand; and what its caller waits.

use std::thread;
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};
use sglang_router_rs::config::Isolation;
use sglang_router_rs::core::WorkerTable;
use sglang_router_rs::policies::{PluginOptions, PolicyFactory, PolicyHandle, SelectWorkerInfo};

use crate::by_hand::ByHand;
use crate::stage;
use crate::stage::Length;

/// Decisions at once: fewer than there are instances, so that none waits for one to be made.
const BURST: usize = 48;
const INSTANCES: usize = 64;

pub(crate) fn run(length: Length) {
    let (rounds, bursts) = match length {
        Length::Full => (9, 200),
        Length::Short => (1, 2),
    };
    let factory = PolicyFactory::new();
    let runtime = stage::runtime();
    let options =
        |isolation| PluginOptions { isolation, max_instances: INSTANCES, ..PluginOptions::default() };
    let fresh = runtime.block_on(stage::load(&factory, "fresh", options(Isolation::Fresh)));
    let reuse = runtime.block_on(stage::load(&factory, "reuse", options(Isolation::Reuse)));
    let fleet = stage::fleet(8);
    let table = fleet.table();
    let by_hand = ByHand::new();
    let (mut hand, mut whole, mut waits, mut warm) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for _ in 0..rounds {
        let before = processor_time();
        (0..bursts * BURST).for_each(|_| by_hand.decide());
        hand.push(each(before, bursts));
        let before = processor_time();
        waits.push(decide_in_bursts(&fresh, &table, bursts, BURST));
        whole.push(each(before, bursts));
        warm.push(decide_in_bursts(&reuse, &table, bursts, 1));
    }
    let (hand, whole) = (stage::median(hand), stage::median(whole));
    println!("8 workers, {rounds} rounds of {} decisions each", bursts * BURST);
    println!(
        "processor time of a decision: by hand {hand:.1} µs, fresh {whole:.1} µs, ratio {:.2}",
        whole / hand
    );
    println!("{:<8}{:>12}{:>12}", "", "reuse", "fresh");
    for (name, quantile) in [("p50", 0.5), ("p99", 0.99)] {
        let (warm, waits) =
            (stage::median_quantile(&warm, quantile), stage::median_quantile(&waits, quantile));
        println!("{name:<8}{warm:>9.0} ns{waits:>9.0} ns");
    }
}

/// Sorted times that callers waited, in nanoseconds.
fn decide_in_bursts(policy: &PolicyHandle, table: &WorkerTable, bursts: usize, ready: usize) -> Vec<u32> {
    let info = SelectWorkerInfo::default();
    let mut times = Vec::with_capacity(bursts * BURST);
    for _ in 0..bursts {
        for _ in 0..BURST {
            let start = Instant::now();
            let decision = policy.decide(table, &info);
            times.push(u32::try_from(start.elapsed().as_nanos()).unwrap_or(u32::MAX));
            decision.expect("a decision");
        }
        // All that live are back, and those that went are made anew.
        let PolicyHandle::Wasm(plugin) = policy else { continue };
        while plugin.stats().pool.idle < ready {
            thread::sleep(Duration::from_millis(1));
        }
    }
    times.sort_unstable();
    times
}

/// Processor time of this process since its start.
fn processor_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), u32::try_from(time.tv_nsec).unwrap_or(0))
}

/// Microseconds of one decision since `before`.
#[expect(clippy::cast_precision_loss, reason = "some thousands")]
fn each(before: Duration, bursts: usize) -> f64 {
    (processor_time() - before).as_secs_f64() * 1e6 / (bursts * BURST) as f64
}
