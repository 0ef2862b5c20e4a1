//! How far budgets are overrun: figures for docs/security.md, not a test that could fail for them.
//!
//! `cargo test --test hostile -- --ignored --nocapture overrun`

use std::process::{Child, Command};
use std::time::{Duration, Instant};

use sgl_testkit::guest::FOREVER;
use sgl_testkit::plugins::asking;
use sglang_router_rs::policies::{Chooser, FailureCause, WasmPolicyConfig};

use crate::guest::guest;
use crate::stage::{BAD, Stage, limits, options};

/// Decisions that are timed.
const DECISIONS: usize = 40;

const BUDGET_MS: u64 = 10;

/// A process that does nothing but that.
struct Busy(Child);

impl Busy {
    fn start() -> Self {
        Self(Command::new("sh").args(["-c", "while :; do :; done"]).spawn().expect("a shell"))
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.kill().expect("it runs");
        self.0.wait().expect("it ends");
    }
}

async fn times() -> Vec<Duration> {
    let stage = Stage::new().await;
    let short = WasmPolicyConfig { max_execution_time_ms: BUDGET_MS, ..limits() };
    let hostile = stage.load_with(short, options(), guest(FOREVER)).await;
    let mut times = Vec::new();
    while times.len() < DECISIONS {
        hostile.ready().await;
        let start = Instant::now();
        let decided = hostile.policy.decide_async(&stage.table, &asking(BAD)).await.expect("a worker");
        assert_eq!(decided.chooser(), Chooser::Fallback { cause: FailureCause::Timeout });
        times.push(start.elapsed());
    }
    times.sort_unstable();
    times
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes all cores, and shows figures only"]
async fn overrun_of_an_endless_loop_with_idle_and_with_busy_cores() {
    let cores = std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
    for each in [0, 1, 4] {
        let busy: Vec<Busy> = (0..each * cores).map(|_| Busy::start()).collect();
        let times = times().await;
        drop(busy);
        let [median, worst] = [times[DECISIONS / 2], times[DECISIONS - 1]];
        println!("{each} busy processes a core: median {median:?}, worst {worst:?} of {BUDGET_MS} ms");
    }
}
