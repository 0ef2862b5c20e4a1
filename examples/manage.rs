//! Every field of a plugin's configuration, and what else a factory does. docs/wasm_plugins.md
//! shows parts of it.
#![expect(clippy::print_stdout, reason = "an example shows what it did")]
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "as short as in the documents")]

use sglang_router_rs::policies::{Load, LoadBalancingPolicy, PluginOptions, SelectWorkerInfo};
use sglang_router_rs::policies::{PolicyFactory, WasmPolicyConfig};
use std::collections::HashMap;
use std::sync::Arc;

use sglang_router_rs::core::{BasicWorker, Worker, WorkerSpec};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut factory = PolicyFactory::new();

    let config = WasmPolicyConfig {
        module_path: "dist/plugins/weighted_random.wasm".to_string(),
        name: "my_policy".to_string(),
        max_execution_time_ms: 1000,
        max_memory_bytes: 1024 * 1024,
        allowed_syscalls: vec![],
        config: HashMap::new(),
    };

    factory.load_wasm_plugin(config.clone()).await?;
    let policy = factory.create_by_name("my_policy").unwrap();

    // A slice of workers and a bare index, as SGLang's router calls its policies.
    let worker = |url: &str| Arc::new(BasicWorker::new(WorkerSpec::new(url))) as Arc<dyn Worker>;
    let workers = [worker("http://10.0.0.1:30000"), worker("http://10.0.0.2:30000")];
    let info = SelectWorkerInfo { request_text: Some("Hello"), ..SelectWorkerInfo::default() };
    let index = policy.select_worker(&workers, &info).ok_or("no worker may be chosen")?;
    println!("chosen: {}", workers[index].url());

    // Everything that the six fields do not say.
    let weights = serde_json::json!({"http://10.0.0.1:30000": 3, "http://10.0.0.2:30000": 1});
    let config = WasmPolicyConfig { config: HashMap::from([("weights".into(), weights)]), ..config };
    let options =
        PluginOptions { max_instances: 8, fallback: "least_load".into(), ..PluginOptions::default() };
    let info = factory.load(Load::file(config).with(options)).await?;
    println!("generation {} of {} serves, sha256:{}", info.generation, info.name, info.digest);

    // 列出已加载的插件
    let plugins = factory.list_wasm_plugins();
    println!("loaded: {plugins:?}");

    // 卸载插件
    factory.unload_wasm_plugin("my_policy");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn example_runs_to_its_end() {
        main().unwrap();
    }
}
