//! A router for a test: on free ports, with quick health checks.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use sgl_router::cli::assembly::RunningRouter;
use sgl_router::config::CheckedConfig;
use sgl_router::config::RouterConfig;
use sgl_router::config::check::Surroundings;
use sgl_router::config::check::check;
use sgl_router::config::worker_entry::WorkerEntry;
use sgl_router::metrics::Metrics;
use sgl_router::proxy::target::Target;
use sglang_router_rs::core::Worker;
use sglang_router_rs::policies::PolicyFactory;
use sglang_router_rs::policies::native::NativePolicy;

use crate::client::Whole;
use crate::client::call;
use crate::client::get;
use crate::upstream::Upstream;

/// Settings for a test: free ports, round robin, no health checks, no questions for models.
pub(crate) fn config(workers: Vec<WorkerEntry>) -> CheckedConfig {
    let mut config = RouterConfig { workers, ..RouterConfig::default() };
    config.server.port = 0;
    config.metrics.port = 0;
    config.admin.port = 0;
    config.health.interval_secs = 0;
    config.health.poll_models = false;
    check(config, Surroundings { built_in_policies: &NativePolicy::NAMES, ..Surroundings::default() })
        .expect("a configuration without faults")
}

/// The same with health checks every 10 ms.
pub(crate) fn checking(workers: Vec<WorkerEntry>) -> CheckedConfig {
    let mut config = config(workers);
    config.proxy.health.interval = Some(Duration::from_millis(10));
    config.proxy.health.timeout = Duration::from_secs(2);
    config
}

/// A worker at this address.
pub(crate) fn entry(address: SocketAddr) -> WorkerEntry {
    WorkerEntry { url: format!("http://{address}"), ..WorkerEntry::default() }
}

/// The same without checks, but with questions for models every 10 ms.
pub(crate) fn learning(workers: Vec<WorkerEntry>) -> CheckedConfig {
    let mut config = config(workers);
    config.proxy.health.poll_models = true;
    config.proxy.health.models_interval = Duration::from_millis(10);
    config
}

pub(crate) async fn start(config: CheckedConfig) -> RunningRouter {
    RunningRouter::start(config, &PolicyFactory::new(), Arc::new(Metrics::new())).await.expect("a router")
}

/// A router with these workers, all of them healthy.
pub(crate) async fn over(workers: &[&Upstream]) -> RunningRouter {
    start(config(workers.iter().map(|worker| worker.entry()).collect())).await
}

/// The worker with this URL.
pub(crate) fn target(router: &RunningRouter, url: &str) -> Option<Arc<Target>> {
    let snapshot = router.proxy().backends().snapshot();
    snapshot.targets().iter().find(|target| target.worker().url() == url).cloned()
}

/// The worker with this URL, as the admin API shows it.
pub(crate) async fn shown(router: &RunningRouter, url: &str) -> Option<serde_json::Value> {
    let list = call(router.addresses().admin, get("/workers")).await.json();
    let workers = list.get("workers").and_then(|list| list.as_array()).expect("a list");
    workers.iter().find(|worker| worker.get("url").is_some_and(|own| own == url)).cloned()
}

/// Waits for something that must happen. The limit is far beyond what it takes: it turns a test
/// that would hang into one that fails.
pub(crate) async fn soon<T>(event: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(30), event).await.expect("it happens soon")
}

/// Asks again and again until something is true. For changes that announce themselves nowhere.
pub(crate) async fn until(mut is_true: impl AsyncFnMut() -> bool) {
    soon(async {
        while !is_true().await {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    })
    .await;
}

/// The metrics page.
pub(crate) async fn metrics(router: &RunningRouter) -> Whole {
    call(router.addresses().metrics, get("/metrics")).await
}

/// Requests in flight to a worker.
pub(crate) fn in_flight(router: &RunningRouter, url: &str) -> usize {
    target(router, url).map_or(0, |target| target.worker().load())
}
