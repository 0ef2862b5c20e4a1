//! An engine that is small enough for a leak to show, and what happens to every module: it is
//! loaded, asked, unloaded, and must be gone then.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use sglang_router_rs::config::{BreakerOptions, ProbationOptions};
use sglang_router_rs::core::WorkerTable;
use sglang_router_rs::engine::{EngineError, EngineOptions};
use sglang_router_rs::policies::{
    Load, PluginError, PluginOptions, PolicyFactory, PolicyHandle, SelectWorkerInfo, WasmPolicyConfig,
};
use tokio::runtime::Runtime;

use crate::{fleet, guests};

/// Instances that the engine can hold.
const ENGINE_INSTANCES: usize = 8;

/// Runs after which all of them are made, which only goes if none was leaked.
const FILL_EVERY: u64 = 64;

/// How often anything is looked for before it counts as never happening. What is waited for takes
/// milliseconds; looks are counted, not time, since a machine may stand still.
const LOOKS: usize = 100_000;

/// Between two looks.
const PAUSE: Duration = Duration::from_micros(500);

/// The name under which modules are loaded.
pub(crate) const NAME: &str = "fuzzed";

/// One engine for all runs of a target.
#[derive(Debug)]
pub(crate) struct Host {
    pub(crate) factory: PolicyFactory,
    runtime: Runtime,
    runs: AtomicU64,
}

impl Host {
    pub(crate) fn new() -> Self {
        let options = EngineOptions { max_instances: ENGINE_INSTANCES, ..EngineOptions::default() };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        Self { factory: PolicyFactory::with_engine(options), runtime, runs: AtomicU64::new(0) }
    }

    pub(crate) fn run<T>(&self, work: impl Future<Output = T>) -> T {
        self.runtime.block_on(work)
    }

    /// Loads a module; the policy, if it was taken.
    pub(crate) fn load(
        &self,
        config: WasmPolicyConfig,
        options: PluginOptions,
        wasm: Vec<u8>,
    ) -> Result<PolicyHandle, PluginError> {
        let name = config.name.clone();
        let loaded = self.run(Box::pin(self.factory.load(Load::bytes(config, wasm).with(options))));
        if let Err(PluginError::Engine(error @ EngineError::Capacity { .. })) = &loaded {
            panic!("instances were leaked: {error}");
        }
        loaded.map(|_| self.factory.create_by_name(&name).expect("it is loaded"))
    }

    /// One decision, on this thread or as a future.
    pub(crate) fn decide(
        &self,
        policy: &PolicyHandle,
        table: &WorkerTable,
        info: &SelectWorkerInfo<'_>,
        on_fiber: bool,
    ) {
        let outcome =
            if on_fiber { self.run(policy.decide_async(table, info)) } else { policy.decide(table, info) };
        fleet::check(table, info, &outcome);
    }

    /// Unloads the plugin and waits until all of it is gone.
    pub(crate) fn unload(&self, policy: &PolicyHandle) {
        assert!(self.factory.unload_wasm_plugin(policy.name()));
        self.gone(policy);
    }

    fn gone(&self, policy: &PolicyHandle) {
        let PolicyHandle::Wasm(plugin) = policy else { panic!("it is a plugin") };
        until("its generations are gone", || {
            let stats = plugin.stats();
            stats.live_generations == 0 && stats.pool.live == 0
        });
    }

    /// To be called at the end of every run: nothing is loaded, and every so often, or if
    /// `thorough`, the engine has room for every instance.
    pub(crate) fn nothing_is_left(&self, thorough: bool) {
        assert!(self.factory.list_wasm_plugins().is_empty());
        let number = self.runs.fetch_add(1, Ordering::Relaxed);
        if !thorough && !number.is_multiple_of(FILL_EVERY) {
            return;
        }
        let all = PluginOptions { min_warm: ENGINE_INSTANCES, max_instances: ENGINE_INSTANCES, ..options() };
        let config = WasmPolicyConfig { name: "filler".into(), ..config() };
        for look in 0.. {
            let load = self.factory.load(Load::bytes(config.clone(), guests::plain()).with(all.clone()));
            match self.run(Box::pin(load)) {
                Ok(_) => break,
                // Instances are dropped in the background.
                Err(PluginError::Engine(EngineError::Capacity { .. })) if look < LOOKS => {}
                // The machine stood still.
                Err(PluginError::CompileTime { .. } | PluginError::Start { .. }) if look < LOOKS => {}
                Err(error) => panic!("something is left: {error}"),
            }
            std::thread::sleep(PAUSE);
        }
        let filler = self.factory.create_by_name("filler").expect("it is loaded");
        self.unload(&filler);
    }
}

/// Waits for something that happens in the background.
pub(crate) fn until(what: &str, condition: impl Fn() -> bool) {
    for _ in 0..LOOKS {
        if condition() {
            return;
        }
        std::thread::sleep(PAUSE);
    }
    panic!("never happened: {what}");
}

/// Limits under which modules run: 20 ms, 1 MiB.
pub(crate) fn config() -> WasmPolicyConfig {
    WasmPolicyConfig {
        max_execution_time_ms: 20,
        max_memory_bytes: 1 << 20,
        ..WasmPolicyConfig::new(NAME, "fuzzed.wasm")
    }
}

/// Few instances, no breaker, and nothing that keeps a replaced generation.
pub(crate) fn options() -> PluginOptions {
    let breaker = BreakerOptions { failures: 0, max_lost_percent: 0, ..BreakerOptions::default() };
    let probation = ProbationOptions { secs: 0, ..ProbationOptions::default() };
    PluginOptions { min_warm: 1, max_instances: 2, breaker, probation, ..PluginOptions::default() }
}
