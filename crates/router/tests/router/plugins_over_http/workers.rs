//! Simulated workers.

use serde_json::Value;
use sgl_router::config::WorkerEntry;
use sgl_tools::sim::{SimConfig, SimWorker};

/// Settings of a worker that answers at once.
pub(crate) fn instant() -> SimConfig {
    SimConfig { time_scale: 0.0, ..SimConfig::default() }
}

/// Settings of a worker whose streams send one chunk and then nothing more, so that a client
/// holds them in flight for as long as it likes. Plain answers come at once.
pub(crate) fn holding() -> SimConfig {
    SimConfig { stall_after: Some(1), ..instant() }
}

/// Starts worker `index`; its answers carry that number.
pub(crate) async fn start(index: usize, config: SimConfig) -> SimWorker {
    let config = SimConfig { worker_id: index.to_string(), ..config };
    SimWorker::start(config).await.expect("the worker starts")
}

/// Starts that many alike.
pub(crate) async fn start_all(count: usize, config: SimConfig) -> Vec<SimWorker> {
    let mut workers = Vec::new();
    for index in 0..count {
        workers.push(start(index, config.clone()).await);
    }
    workers
}

/// A worker as the router's configuration names it.
pub(crate) fn entry(worker: &SimWorker) -> WorkerEntry {
    WorkerEntry { url: worker.url(), ..WorkerEntry::default() }
}

/// Workers as the router's configuration names them.
pub(crate) fn entries(workers: &[SimWorker]) -> Vec<WorkerEntry> {
    workers.iter().map(entry).collect()
}

/// A chat request.
pub(crate) fn chat(prompt: &str) -> Value {
    serde_json::json!({
        "model": "sim-model",
        "messages": [{ "role": "user", "content": prompt }],
        "max_tokens": 3,
    })
}
