//! What several groups need: workers, and the plugin that is measured.

use std::path::PathBuf;

use sglang_router_rs::core::{Fleet, WorkerSpec};

/// A plugin of the repository, built.
pub(crate) fn module(name: &str) -> PathBuf {
    built("plugins", name)
}

/// A plugin that is built for tests and benchmarks.
pub(crate) fn fixture(name: &str) -> PathBuf {
    built("fixtures", name)
}

fn built(kind: &str, name: &str) -> PathBuf {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(format!("dist/{kind}/{name}.wasm"));
    assert!(path.exists(), "run scripts/build_wasm_plugins.sh build first");
    path
}

/// As many idle, healthy workers.
pub(crate) fn fleet(count: usize) -> Fleet {
    let fleet = Fleet::new();
    for i in 0..count {
        let url = format!("http://10.0.{}.{}:30000", i / 250, i % 250);
        fleet.add(WorkerSpec::new(url), true).expect("a new URL");
    }
    fleet
}
