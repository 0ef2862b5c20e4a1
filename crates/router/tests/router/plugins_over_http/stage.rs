//! A router with a plugin as its policy, and the plugin's own counters.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use sgl_router::config::{RouterConfig, Surroundings, WorkerEntry, check};
use sgl_router::{Metrics, RunningRouter};
use sglang_router_rs::config::{PluginOptions, WasmPolicyConfig};
use sglang_router_rs::core::Worker;
use sglang_router_rs::policies::{Load, NativePolicy, PluginStats, PolicyFactory};

use crate::plugins_over_http::client::{Client, within};

/// The name under which a stage loads its plugin.
const NAME: &str = "mine";

/// A plugin's configuration.
pub(crate) type PluginConfig = HashMap<String, Value>;

/// A router on free ports whose policy is a plugin.
#[derive(Debug)]
pub(crate) struct Stage {
    pub(crate) router: RunningRouter,
    pub(crate) client: Client,
    factory: PolicyFactory,
}

impl Stage {
    /// Loads the module and starts the router. Workers are not checked and count as healthy.
    pub(crate) async fn start(wasm: Vec<u8>, config: PluginConfig, workers: Vec<WorkerEntry>) -> Self {
        let factory = PolicyFactory::new();
        load(&factory, wasm, config).await;
        let mut config = RouterConfig { workers, ..RouterConfig::default() };
        config.server.port = 0;
        config.metrics.port = 0;
        config.admin.port = 0;
        config.health.interval_secs = 0;
        let surroundings =
            Surroundings { built_in_policies: &NativePolicy::NAMES, ..Surroundings::default() };
        let mut config = check(config, surroundings).expect("a configuration without faults");
        NAME.clone_into(&mut config.policy);
        let metrics = Arc::new(Metrics::new());
        let router = RunningRouter::start(config, &factory, metrics).await.expect("the router starts");
        let client = Client::new(router.addresses().data);
        Self { router, client, factory }
    }

    /// Replaces the plugin's module.
    pub(crate) async fn replace(&self, wasm: Vec<u8>, config: PluginConfig) {
        load(&self.factory, wasm, config).await;
    }

    /// Requests that the router has in flight to each worker.
    pub(crate) fn loads(&self) -> Vec<usize> {
        let snapshot = self.router.proxy().backends().snapshot();
        snapshot.targets().iter().map(|target| target.worker().load()).collect()
    }

    /// Waits until the router has counted the end of requests. It announces that nowhere.
    pub(crate) async fn loads_are(&self, expected: &[usize]) {
        let reached = async {
            while self.loads() != expected {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        within(reached).await;
    }

    /// No new requests to the worker with this number.
    pub(crate) fn drain(&self, worker: usize) {
        let backends = self.router.proxy().backends();
        let url = backends.snapshot().targets()[worker].worker().url().to_owned();
        assert!(backends.drain(&url).is_some(), "{url} is a worker");
    }

    /// Fails unless the plugin made exactly so many decisions, and nobody else any.
    pub(crate) fn decided(&self, decisions: u64) {
        let stats = self.stats();
        let failures: Vec<_> = stats.failures.iter().filter(|(_, count)| *count > 0).collect();
        assert!(failures.is_empty(), "{failures:?}");
        assert_eq!((stats.decisions, stats.fallbacks), (decisions, 0));
    }

    fn stats(&self) -> PluginStats {
        self.factory.plugin_stats().pop().expect("one plugin is loaded")
    }
}

/// Loads a module within 1 MiB of memory. Its time is what the sandbox allows at most: here, a
/// slow machine must fail no test.
async fn load(factory: &PolicyFactory, wasm: Vec<u8>, config: PluginConfig) {
    let config = WasmPolicyConfig {
        max_execution_time_ms: 30_000,
        max_memory_bytes: 1 << 20,
        config,
        ..WasmPolicyConfig::new(NAME, "from memory")
    };
    let options = PluginOptions { max_wait_ms: 60_000, ..PluginOptions::default() };
    factory.load(Load::bytes(config, wasm).with(options)).await.expect("the plugin loads");
}
