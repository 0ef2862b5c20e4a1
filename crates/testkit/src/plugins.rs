//! Loading plugins, asking them, and what was counted of them.

use std::collections::HashMap;
use std::time::Duration;

use sglang_router_rs::config::ProbationOptions;
use sglang_router_rs::policies::{
    Chooser, Load, PluginError, PluginInfo, PluginOptions, PluginStats, PolicyFactory, PolicyHandle,
    RequestCompletion, SelectWorkerInfo, WasmPolicyConfig,
};

/// The numbers of the first document: 1 MiB, 1000 ms, no system calls.
pub fn config(name: &str) -> WasmPolicyConfig {
    WasmPolicyConfig {
        module_path: format!("{name}.wasm"),
        name: name.to_owned(),
        max_execution_time_ms: 1000,
        max_memory_bytes: 1024 * 1024,
        allowed_syscalls: vec![],
        config: HashMap::new(),
    }
}

/// The defaults, but for a probation: a replaced generation goes at once.
pub fn without_probation() -> PluginOptions {
    let probation = ProbationOptions { secs: 0, ..ProbationOptions::default() };
    PluginOptions { probation, ..PluginOptions::default() }
}

/// Loads bytes under a name, with the first document's numbers and without a probation.
///
/// # Errors
///
/// The plugin is refused.
pub async fn load(factory: &PolicyFactory, name: &str, wasm: Vec<u8>) -> Result<PluginInfo, PluginError> {
    factory.load(Load::bytes(config(name), wasm).with(without_probation())).await
}

/// A factory with one plugin, and the plugin.
pub async fn loaded(wasm: Vec<u8>) -> (PolicyFactory, PolicyHandle) {
    loaded_with(config("test"), PluginOptions::default(), wasm).await
}

/// The same, with limits and options.
pub async fn loaded_with(
    config: WasmPolicyConfig,
    options: PluginOptions,
    wasm: Vec<u8>,
) -> (PolicyFactory, PolicyHandle) {
    let factory = PolicyFactory::new();
    let name = config.name.clone();
    factory.load(Load::bytes(config, wasm).with(options)).await.expect("it loads");
    let policy = factory.create_by_name(&name).expect("it is there");
    (factory, policy)
}

/// A request with this text and nothing else.
pub fn asking(text: &str) -> SelectWorkerInfo<'_> {
    SelectWorkerInfo { request_text: Some(text), ..SelectWorkerInfo::default() }
}

/// What was counted of the only plugin.
pub fn stats(factory: &PolicyFactory) -> PluginStats {
    factory.plugin_stats().into_iter().next().expect("one plugin")
}

/// How often the only plugin failed for this cause.
pub fn failures(factory: &PolicyFactory, cause: &str) -> u64 {
    let stats = stats(factory);
    stats.failures.iter().find(|(known, _)| known.as_str() == cause).expect("a known cause").1
}

/// A request that came to a good end on `http://w0` after a millisecond.
pub fn finished(chooser: Chooser) -> RequestCompletion {
    RequestCompletion {
        success: true,
        judged: true,
        total: Duration::from_millis(1),
        ..RequestCompletion::new("http://w0", chooser)
    }
}
