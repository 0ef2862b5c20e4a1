//! Small guests as text, and fleets to choose from.

use std::collections::HashMap;
use std::future::Future;
use std::time::Duration;
use std::time::Instant;

use sgl_policy_abi::Concurrency;
use sgl_policy_abi::Input;
use sgl_policy_abi::Manifest;
use sgl_policy_abi::Wire;
use sgl_policy_abi::encode_to_vec;
use sglang_router_rs::core::Fleet;
use sglang_router_rs::core::WorkerSpec;
use sglang_router_rs::policies::PluginError;
use sglang_router_rs::policies::PluginInfo;
use sglang_router_rs::policies::PluginOptions;
use sglang_router_rs::policies::PluginStats;
use sglang_router_rs::policies::Policy;
use sglang_router_rs::policies::PolicyFactory;
use sglang_router_rs::policies::WasmPolicyConfig;

/// What every guest needs besides `select_worker`.
pub(crate) const BASICS: &str = r#"
  (memory (export "memory") 2)
  (global $heap (mut i32) (i32.const 65536))
  (func (export "alloc") (param $size i32) (result i32)
    (local $at i32)
    (local.set $at (global.get $heap))
    (global.set $heap (i32.add (global.get $heap) (local.get $size)))
    (local.get $at))
  (func (export "dealloc") (param i32 i32))
"#;

/// A guest whose `select_worker` has this body (two parameters, an `i64` result), with more
/// module fields before it.
pub(crate) fn guest_with(fields: &str, body: &str) -> Vec<u8> {
    let text = format!(
        r#"(module {fields} {BASICS} (func (export "init"))
           (func (export "select_worker") (param $ptr i32) (param $len i32) (result i64) {body}))"#
    );
    wat::parse_str(&text).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

/// A guest whose `select_worker` has this body.
pub(crate) fn guest(body: &str) -> Vec<u8> {
    guest_with("", body)
}

/// A guest that always chooses this worker (below 128).
pub(crate) fn guest_choosing(index: u8) -> Vec<u8> {
    guest_with(&format!(r#"(data (i32.const 16) "\{index:02x}")"#), &answer(16, 1))
}

/// The instruction that answers `len` bytes at `at`.
pub(crate) fn answer(at: u32, len: u32) -> String {
    format!("(i64.const {})", sgl_policy_abi::pack(at, len))
}

/// The field that makes a guest a column guest with these inputs.
pub(crate) fn manifest(inputs: &[Input], concurrency: Concurrency) -> String {
    let manifest = Manifest {
        abi: 1,
        name: "test".into(),
        version: "1".into(),
        description: String::new(),
        wire: Wire::Columns,
        inputs: inputs.to_vec(),
        concurrency,
    };
    let bytes = encode_to_vec(|writer| manifest.encode(writer)).expect("fits");
    custom_section("sgl.policy", &bytes)
}

/// A custom section as a module field.
pub(crate) fn custom_section(name: &str, bytes: &[u8]) -> String {
    format!(r#"(@custom "{name}" "{}")"#, escaped(bytes))
}

/// Bytes as the inside of a WAT string.
pub(crate) fn escaped(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("\\{byte:02x}")).collect()
}

/// The numbers of the first document: 1 MiB, 1000 ms, no system calls.
pub(crate) fn config(name: &str) -> WasmPolicyConfig {
    WasmPolicyConfig {
        module_path: format!("{name}.wasm"),
        name: name.to_owned(),
        max_execution_time_ms: 1000,
        max_memory_bytes: 1024 * 1024,
        allowed_syscalls: vec![],
        config: HashMap::new(),
    }
}

/// Loads bytes under a name, with the first document's numbers.
pub(crate) async fn load(
    factory: &PolicyFactory,
    name: &str,
    wasm: Vec<u8>,
) -> Result<PluginInfo, PluginError> {
    factory.load_wasm_plugin_bytes(config(name), PluginOptions::default(), wasm).await
}

/// A factory with one plugin, and the plugin.
pub(crate) async fn loaded(wasm: Vec<u8>) -> (PolicyFactory, Policy) {
    loaded_with(config("test"), PluginOptions::default(), wasm).await
}

/// The same, with limits and options.
pub(crate) async fn loaded_with(
    config: WasmPolicyConfig,
    options: PluginOptions,
    wasm: Vec<u8>,
) -> (PolicyFactory, Policy) {
    let factory = PolicyFactory::new();
    let name = config.name.clone();
    factory.load_wasm_plugin_bytes(config, options, wasm).await.expect("it loads");
    let policy = factory.create_by_name(&name).expect("it is there");
    (factory, policy)
}

/// What was counted of the only plugin.
pub(crate) fn stats(factory: &PolicyFactory) -> PluginStats {
    factory.plugin_stats().into_iter().next().expect("one plugin")
}

/// How often the only plugin failed for this cause.
pub(crate) fn failures(factory: &PolicyFactory, cause: &str) -> u64 {
    let stats = stats(factory);
    stats.failures.iter().find(|(known, _)| known.as_str() == cause).expect("a known cause").1
}

/// Healthy workers `http://w0` …
pub(crate) fn fleet(count: usize) -> Fleet {
    let fleet = Fleet::new();
    for index in 0..count {
        fleet.add(WorkerSpec::new(format!("http://w{index}")), true).expect("a new URL");
    }
    fleet
}

/// Waits for something that happens in the background, without a fixed sleep.
pub(crate) async fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < Duration::from_secs(20), "never happened: {what}");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// Polls a future this often, then drops it.
pub(crate) async fn poll_then_drop(future: impl Future, polls: usize) -> bool {
    let mut future = std::pin::pin!(future);
    for _ in 0..polls {
        if futures_poll(future.as_mut()).await {
            return true;
        }
        tokio::task::yield_now().await;
    }
    false
}

async fn futures_poll(future: std::pin::Pin<&mut impl Future>) -> bool {
    let mut future = Some(future);
    std::future::poll_fn(move |context| {
        let done = future.take().is_some_and(|future| future.poll(context).is_ready());
        std::task::Poll::Ready(done)
    })
    .await
}
