//! Workers to choose from.

use std::sync::Arc;

use sglang_router_rs::core::{BasicWorker, Fleet, Worker, WorkerSpec};

/// Healthy workers `http://w0` …
pub fn fleet(count: usize) -> Fleet {
    let fleet = Fleet::new();
    for index in 0..count {
        fleet.add(WorkerSpec::new(format!("http://w{index}")), true).expect("a new URL");
    }
    fleet
}

/// Healthy workers of an embedder's own, `http://w0` …
pub fn slice(count: usize) -> Vec<Arc<dyn Worker>> {
    let worker =
        |index| Arc::new(BasicWorker::new(WorkerSpec::new(format!("http://w{index}")))) as Arc<dyn Worker>;
    (0..count).map(worker).collect()
}
