//! How long a load takes, compiled and from the cache, and what a warm instance has resident.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use sglang_router_rs::engine::EngineOptions;
use sglang_router_rs::policies::{Load, PluginOptions, PolicyFactory, WasmPolicyConfig};

use crate::stage;
use crate::stage::Length;

/// Instances that a load warms.
const WARM: usize = 8;

/// Instances over which resident memory is divided.
const MANY: usize = 256;

pub(crate) fn run(length: Length) {
    let (rounds, many) = match length {
        Length::Full => (9, MANY),
        Length::Short => (1, 2 * WARM),
    };
    let runtime = stage::runtime();
    println!(
        "{:<44}{:>12}{:>12}",
        format!("load and warm {WARM} instances, {rounds} rounds"),
        "compiled",
        "cached"
    );
    for module in ["plugins/least_connections.wasm", "fixtures/first_readme.wasm"] {
        let path = stage::module(module);
        let kib = path.metadata().expect("it is there").len() / 1024;
        let (mut compiled, mut cached) = (Vec::new(), Vec::new());
        for _ in 0..rounds {
            let cache = tempfile::tempdir().expect("a directory");
            for times in [&mut compiled, &mut cached] {
                times.push(millis(runtime.block_on(load(&path, Some(cache.path().join("aot")), WARM)).1));
            }
        }
        let (compiled, cached) = (stage::median(compiled), stage::median(cached));
        println!("{:<44}{compiled:>9.1} ms{cached:>9.1} ms", format!("{module}, {kib} KiB"));
    }
    let path = stage::module("plugins/least_connections.wasm");
    let mut each = Vec::new();
    for _ in 0..rounds {
        let (few, _) = runtime.block_on(load(&path, None, WARM));
        let before = resident();
        let (lots, _) = runtime.block_on(load(&path, None, many));
        each.push((resident() - before) / kib_of(many));
        drop((few, lots));
    }
    println!("resident memory of a warm least_connections: {:.0} KiB, {many} instances", stage::median(each));
}

/// A factory with the plugin, and how long its load took.
async fn load(path: &Path, cache: Option<PathBuf>, warm: usize) -> (PolicyFactory, Duration) {
    let engine = EngineOptions { aot_cache: cache, ..EngineOptions::default() };
    let factory = PolicyFactory::with_engine(engine);
    // The engine starts with another plugin, so that a load alone is measured.
    let other = stage::module("plugins/weighted_random.wasm");
    let other = WasmPolicyConfig::new("other", other.to_string_lossy());
    factory.load(Load::file(other)).await.expect("it loads");
    let options = PluginOptions { min_warm: warm, max_instances: warm, ..PluginOptions::default() };
    let config = WasmPolicyConfig {
        max_execution_time_ms: 1000,
        ..WasmPolicyConfig::new("loaded", path.to_string_lossy())
    };
    let start = Instant::now();
    factory.load(Load::file(config).with(options)).await.expect("it loads");
    (factory, start.elapsed())
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

#[expect(clippy::cast_precision_loss, reason = "some hundreds")]
fn kib_of(instances: usize) -> f64 {
    instances as f64
}

/// Resident memory of this process, in KiB.
fn resident() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok()).unwrap_or(0.0)
}
