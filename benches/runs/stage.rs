//! What several parts need: workers, loaded plugins, quantiles, medians.

use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use sglang_router_rs::core::{Fleet, WorkerSpec, WorkerTable};
use sglang_router_rs::policies::{
    Load, PluginOptions, PolicyFactory, PolicyHandle, SelectWorkerInfo, WasmPolicyConfig,
};

/// How much is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Length {
    /// Enough to see that it runs.
    Short,
    /// Enough to believe it.
    Full,
}

impl Length {
    /// Rounds of each kind, and the time of one.
    pub(crate) fn rounds(self, time: Duration) -> (usize, Duration) {
        match self {
            Self::Full => (9, time),
            Self::Short => (1, time.min(Duration::from_millis(100))),
        }
    }
}

/// A file that `scripts/build_wasm_plugins.sh build` makes.
pub(crate) fn module(path: &str) -> PathBuf {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("dist").join(path);
    assert!(path.exists(), "run scripts/build_wasm_plugins.sh build first");
    path
}

/// As many idle, healthy workers.
pub(crate) fn fleet(count: usize) -> Fleet {
    let fleet = Fleet::new();
    for index in 0..count {
        fleet.add(WorkerSpec::new(format!("http://10.0.0.{index}:30000")), true).expect("a new URL");
    }
    fleet
}

/// `least_connections` with these options.
pub(crate) async fn load(factory: &PolicyFactory, name: &str, options: PluginOptions) -> PolicyHandle {
    let module = module("plugins/least_connections.wasm");
    // The default budget is there for guests that hang; here a busy machine must fail nothing.
    let config = WasmPolicyConfig {
        max_execution_time_ms: 30_000,
        ..WasmPolicyConfig::new(name, module.to_string_lossy())
    };
    factory.load(Load::file(config).with(options)).await.expect("it loads");
    factory.create_by_name(name).expect("it is there")
}

/// Decisions of a burst, and the pause after it: a thread that has other things to do.
const BURST: usize = 16;
const PAUSE: Duration = Duration::from_micros(200);

/// Times one burst of decisions, in nanoseconds.
pub(crate) fn burst(policy: &PolicyHandle, table: &WorkerTable, times: &mut Vec<u32>) {
    let info = SelectWorkerInfo::default();
    for _ in 0..BURST {
        let start = Instant::now();
        let decision = policy.decide(table, &info);
        times.push(u32::try_from(start.elapsed().as_nanos()).unwrap_or(u32::MAX));
        decision.expect("a decision");
    }
    thread::sleep(PAUSE);
}

/// A runtime for loads.
pub(crate) fn runtime() -> tokio::runtime::Runtime {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    runtime.expect("a runtime")
}

/// A quantile of sorted values; 0 of none.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "a rank below the number of values"
)]
pub(crate) fn quantile(sorted: &[u32], quantile: f64) -> u32 {
    sorted.get((sorted.len() as f64 * quantile) as usize).or(sorted.last()).copied().unwrap_or(0)
}

/// The median; 0 of none.
pub(crate) fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_unstable_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(0.0)
}

/// The median over rounds of a quantile of each.
pub(crate) fn median_quantile(rounds: &[Vec<u32>], at: f64) -> f64 {
    median(rounds.iter().map(|round| f64::from(quantile(round, at))))
}
