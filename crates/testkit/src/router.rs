//! A router for a test: on free ports, with quick health checks.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use sgl_router::config::{CheckedConfig, RouterConfig, Surroundings, WorkerEntry, check};
use sgl_router::{Metrics, RunningRouter, Target};
use sglang_router_rs::core::Worker;
use sglang_router_rs::policies::{NativePolicy, PolicyFactory};

use crate::client::{Whole, call, get};
use crate::upstream::Upstream;

/// Settings for a test: free ports, round robin, no health checks, no questions for models or load.
pub fn config(workers: Vec<WorkerEntry>) -> CheckedConfig {
    config_with(workers, |_| ())
}

/// The same, as `change` has changed it before it was checked.
pub fn config_with(workers: Vec<WorkerEntry>, change: impl FnOnce(&mut RouterConfig)) -> CheckedConfig {
    let mut config = RouterConfig { workers, ..RouterConfig::default() };
    config.server.port = 0;
    config.metrics.port = 0;
    config.admin.port = 0;
    config.health.interval_secs = 0;
    config.health.poll_models = false;
    config.health.load_interval_ms = 0;
    change(&mut config);
    check(config, Surroundings { built_in_policies: &NativePolicy::NAMES, ..Surroundings::default() })
        .expect("a configuration without faults")
}

/// The same with health checks, and questions for load, every 10 ms.
pub fn checking(workers: Vec<WorkerEntry>) -> CheckedConfig {
    let mut config = config(workers);
    config.proxy.health.interval = Some(Duration::from_millis(10));
    config.proxy.health.load_interval = Some(Duration::from_millis(10));
    config.proxy.health.timeout = Duration::from_secs(2);
    config
}

/// A worker at this address.
pub fn entry(address: SocketAddr) -> WorkerEntry {
    WorkerEntry { url: format!("http://{address}"), ..WorkerEntry::default() }
}

/// The same without checks, but with questions for models every 10 ms.
pub fn learning(workers: Vec<WorkerEntry>) -> CheckedConfig {
    let mut config = config(workers);
    config.proxy.health.poll_models = true;
    config.proxy.health.models_interval = Duration::from_millis(10);
    config
}

/// A router with these settings, and no plugins.
pub async fn start(config: CheckedConfig) -> RunningRouter {
    // Boxed: it is large, and callers have futures of their own.
    let metrics = Arc::new(Metrics::new());
    Box::pin(RunningRouter::start(config, &PolicyFactory::new(), metrics)).await.expect("a router")
}

/// A router with these workers, all of them healthy.
pub async fn over(workers: &[&Upstream]) -> RunningRouter {
    start(config(workers.iter().map(|worker| worker.entry()).collect())).await
}

/// The worker with this URL.
pub fn target(router: &RunningRouter, url: &str) -> Option<Arc<Target>> {
    let snapshot = router.proxy().backends().snapshot();
    snapshot.targets().iter().find(|target| target.worker().url() == url).cloned()
}

/// The worker with this URL, as the admin API shows it.
pub async fn shown(router: &RunningRouter, url: &str) -> Option<serde_json::Value> {
    let list = call(router.addresses().admin, get("/workers")).await.json();
    let workers = list.get("workers").and_then(|list| list.as_array()).expect("a list");
    workers.iter().find(|worker| worker.get("url").is_some_and(|own| own == url)).cloned()
}

/// The metrics page.
pub async fn metrics(router: &RunningRouter) -> Whole {
    call(router.addresses().metrics, get("/metrics")).await
}

/// Requests in flight to a worker.
pub fn in_flight(router: &RunningRouter, url: &str) -> usize {
    target(router, url).map_or(0, |target| target.worker().load())
}
