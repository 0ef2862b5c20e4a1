//! The code of the first document, word for word.
#![deny(warnings)]

use sglang_router_rs::policies::{LoadBalancingPolicy, SelectWorkerInfo};

const MODULE: &str = r#"(module
  (memory (export "memory") 1)
  (func (export "init"))
  (func (export "alloc") (param i32) (result i32) (i32.const 4096))
  (func (export "dealloc") (param i32 i32))
  (data (i32.const 16) "\01")
  (func (export "select_worker") (param i32 i32) (result i64) (i64.const 0x1000000001)))"#;

fn workers() -> Vec<std::sync::Arc<dyn sglang_router_rs::core::Worker>> {
    use sglang_router_rs::core::{BasicWorker, WorkerSpec};
    let worker = |index| {
        let spec = WorkerSpec::new(format!("http://w{index}"));
        std::sync::Arc::new(BasicWorker::new(spec)) as _
    };
    (0..3).map(worker).collect()
}

#[rustfmt::skip]
#[tokio::test]
async fn code_of_the_first_document_compiles_and_works() -> Result<(), Box<dyn std::error::Error>> {
    // The document's paths are relative to the router's working directory.
    let home = tempfile::tempdir()?;
    std::fs::create_dir(home.path().join("plugins"))?;
    std::fs::write(home.path().join("plugins/my_policy.wasm"), wat::parse_str(MODULE)?)?;
    std::env::set_current_dir(home.path())?;

    // -- 加载插件 --
use sglang_router_rs::policies::{PolicyFactory, WasmPolicyConfig};
use std::collections::HashMap;

let mut factory = PolicyFactory::new();

let config = WasmPolicyConfig {
    module_path: "plugins/my_policy.wasm".to_string(),
    name: "my_policy".to_string(),
    max_execution_time_ms: 1000,
    max_memory_bytes: 1024 * 1024,
    allowed_syscalls: vec![],
    config: HashMap::new(),
};

factory.load_wasm_plugin(config).await?;
let policy = factory.create_by_name("my_policy").unwrap();

    assert_eq!(policy.name(), "my_policy");
    assert_eq!(policy.select_worker(&workers(), &SelectWorkerInfo::default()), Some(1));

    // -- 管理插件 --
// 列出已加载的插件
let plugins = factory.list_wasm_plugins();

    assert_eq!(plugins, ["my_policy"]);

// 卸载插件
factory.unload_wasm_plugin("my_policy");

    assert!(factory.list_wasm_plugins().is_empty());
    assert!(factory.create_by_name("my_policy").is_none());
    Ok(())
}
