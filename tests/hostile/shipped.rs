//! The modules that are shipped, as neighbours of a hostile one.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use sgl_testkit::modules;
use sgl_testkit::plugins::{asking, config};
use sglang_router_rs::core::WorkerTable;
use sglang_router_rs::policies::{
    Chooser, Load, PluginOptions, PolicyFactory, PolicyHandle, WasmPolicyConfig,
};

/// All of them, with one instance each.
pub(crate) struct ShippedNeighbours {
    policies: Vec<(String, PolicyHandle)>,
}

/// Where engines keep what they compiled: each case has an engine of its own, and the modules are the same.
pub(crate) fn compiled() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("hostile-compiled")
}

impl ShippedNeighbours {
    pub(crate) async fn load(factory: &PolicyFactory, options: &PluginOptions) -> Self {
        let mut policies = Vec::new();
        for name in modules::shipped() {
            let options = PluginOptions { min_warm: 1, max_instances: 1, ..options.clone() };
            let config = WasmPolicyConfig {
                max_execution_time_ms: 30_000,
                max_memory_bytes: WasmPolicyConfig::DEFAULT_MEMORY_BYTES,
                ..config(&name)
            };
            let load = Load::bytes(config, modules::plugin(&name)).with(options);
            Box::pin(factory.load(load)).await.expect("it is shipped");
            let policy = factory.create_by_name(&name).expect("it is loaded");
            policies.push((name, policy));
        }
        Self { policies }
    }

    /// Each of them decides, itself.
    pub(crate) async fn decide(&self, table: &Arc<WorkerTable>) {
        for (name, policy) in &self.policies {
            let decided = policy.decide_async(table, &asking("a prompt")).await.expect("a worker");
            assert!(matches!(decided.chooser(), Chooser::Plugin { .. }), "{name}: {decided:?}");
            assert!(decided.index() < table.workers().len(), "{name}: {decided:?}");
        }
    }

    /// None of them has failed, was begun anew, or has more than it had.
    pub(crate) fn none_was_harmed(&self) {
        for (name, policy) in &self.policies {
            let PolicyHandle::Wasm(plugin) = policy else { panic!("no plugin: {policy:?}") };
            let found = plugin.stats();
            assert!(found.failures.iter().all(|(_, count)| *count == 0), "{name}: {:?}", found.failures);
            let counts =
                (found.fallbacks, found.completion_failures, found.live_generations, found.pool.live);
            assert_eq!(counts, (0, 0, 1, 1), "{name}");
        }
    }
}
