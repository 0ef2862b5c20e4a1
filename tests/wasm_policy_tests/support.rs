//! Small guests as text, and fleets to choose from.

use std::collections::HashMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;
use std::time::Instant;

use sgl_policy_abi::Concurrency;
use sgl_policy_abi::Input;
use sgl_policy_abi::Manifest;
use sgl_policy_abi::Wire;
use sgl_policy_abi::encode_to_vec;
use sglang_router_rs::config::ProbationOptions;
use sglang_router_rs::core::BasicWorker;
use sglang_router_rs::core::Fleet;
use sglang_router_rs::core::Worker;
use sglang_router_rs::core::WorkerSpec;
use sglang_router_rs::core::WorkerTable;
use sglang_router_rs::policies::PluginError;
use sglang_router_rs::policies::PluginInfo;
use sglang_router_rs::policies::PluginOptions;
use sglang_router_rs::policies::PluginStats;
use sglang_router_rs::policies::Policy;
use sglang_router_rs::policies::PolicyFactory;
use sglang_router_rs::policies::SelectWorkerInfo;
use sglang_router_rs::policies::WasmPolicyConfig;

/// What every guest needs besides `select_worker`.
pub(crate) const BASICS: &str = r#"
  (memory (export "memory") 2)
  (global $heap (mut i32) (i32.const 65536))
  (func (export "alloc") (param $size i32) (result i32)
    (local $at i32)
    (local.set $at (global.get $heap))
    (global.set $heap (i32.add (global.get $heap) (local.get $size)))
    (block $fits
      (br_if $fits (i32.le_u (global.get $heap) (i32.mul (memory.size) (i32.const 65536))))
      (br_if $fits (i32.ne (i32.const -1)
        (memory.grow (i32.sub (i32.shr_u (i32.add (global.get $heap) (i32.const 65535)) (i32.const 16))
                              (memory.size)))))
      (return (i32.const 0)))
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

/// The host functions that most guests here use.
pub(crate) const HOST: &str = r#"
  (import "sgl" "log" (func $log (param i32 i32 i32)))
  (import "sgl" "counter_add" (func $count (param i32 i64) (result i64)))
  (import "sgl" "kv_get" (func $kv_get (param i32 i32 i32 i32) (result i32)))
  (import "sgl" "kv_set" (func $kv_set (param i32 i32 i32 i32) (result i32)))
"#;

/// Needs [`HOST`]. `$echo` logs bytes as `<tag>:<hex>`, a line for each 1000 of them; `$number`
/// logs an `i64` that way. Both use memory from 40,000 on.
pub(crate) const ECHO: &str = r#"
  (func $digit (param i32) (result i32)
    (i32.add (local.get 0)
      (select (i32.const 48) (i32.const 87) (i32.lt_u (local.get 0) (i32.const 10)))))
  (func $echo (param $tag i32) (param $at i32) (param $len i32)
    (local $i i32) (local $byte i32)
    (i32.store8 (i32.const 40000) (local.get $tag))
    (i32.store8 (i32.const 40001) (i32.const 58))
    (loop $next
      (if (i32.and (i32.lt_u (local.get $i) (local.get $len)) (i32.lt_u (local.get $i) (i32.const 1000)))
        (then
          (local.set $byte (i32.load8_u (i32.add (local.get $at) (local.get $i))))
          (i32.store8 (i32.add (i32.const 40002) (i32.shl (local.get $i) (i32.const 1)))
            (call $digit (i32.shr_u (local.get $byte) (i32.const 4))))
          (i32.store8 (i32.add (i32.const 40003) (i32.shl (local.get $i) (i32.const 1)))
            (call $digit (i32.and (local.get $byte) (i32.const 15))))
          (local.set $i (i32.add (local.get $i) (i32.const 1)))
          (br $next))))
    (call $log (i32.const 2) (i32.const 40000) (i32.add (i32.const 2) (i32.shl (local.get $i) (i32.const 1))))
    (if (i32.lt_u (local.get $i) (local.get $len))
      (then (call $echo (local.get $tag) (i32.add (local.get $at) (local.get $i))
                        (i32.sub (local.get $len) (local.get $i))))))
  (func $number (param $tag i32) (param $value i64)
    (i64.store (i32.const 44000) (local.get $value))
    (call $echo (local.get $tag) (i32.const 44000) (i32.const 8)))
"#;

/// A column guest that does what the size of the prompt (below 128) asks for. `cases` are
/// instructions with `$command` set; one that matches returns. Otherwise: 64 + slot answers the
/// value of that counter, everything else worker 0 (9 is what the host's own trials send).
pub(crate) fn commanded(fields: &str, cases: &str) -> Vec<u8> {
    commanded_as(Concurrency::Parallel, fields, cases)
}

/// The same, parallel or serial.
pub(crate) fn commanded_as(concurrency: Concurrency, fields: &str, cases: &str) -> Vec<u8> {
    let manifest = manifest(&[Input::PromptBytes], concurrency);
    let body = format!(
        r#"(local $command i32)
        (local.set $command (i32.load8_u (i32.sub (i32.add (local.get $ptr) (local.get $len)) (i32.const 1))))
        {cases}
        (i32.store8 (i32.const 16) (i32.const 0))
        (if (i32.ge_u (local.get $command) (i32.const 64)) (then
          (i32.store8 (i32.const 16)
            (i32.wrap_i64 (call $count (i32.sub (local.get $command) (i32.const 64)) (i64.const 0))))))
        {}"#,
        answer(16, 1)
    );
    guest_with(&format!("{HOST}{manifest}{fields}"), &body)
}

/// Instructions for [`commanded`]: on this command, do that.
pub(crate) fn on(command: u32, instructions: &str) -> String {
    format!("(if (i32.eq (local.get $command) (i32.const {command})) (then {instructions}))")
}

/// Loops until counter 0 is not zero, which a later generation's `init` sees to: [`opener`].
pub(crate) const WAIT_AT_GATE: &str =
    "(loop $wait (br_if $wait (i64.eqz (call $count (i32.const 0) (i64.const 0)))))";

/// A plain guest whose `init` opens the gate of [`WAIT_AT_GATE`].
pub(crate) fn opener() -> Vec<u8> {
    let text = format!(
        r#"(module {HOST} {} {BASICS}
           (func (export "init") (drop (call $count (i32.const 0) (i64.const 1))))
           (data (i32.const 16) "\00")
           (func (export "select_worker") (param i32 i32) (result i64) {}))"#,
        manifest(&[Input::PromptBytes], Concurrency::Parallel),
        answer(16, 1)
    );
    wat::parse_str(&text).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

/// A prompt of that many bytes, which is a command for a [`commanded`] guest.
pub(crate) fn prompt(command: usize) -> String {
    "x".repeat(command)
}

/// A request with this text and nothing else.
pub(crate) fn asking(text: &str) -> SelectWorkerInfo<'_> {
    SelectWorkerInfo { request_text: Some(text), ..SelectWorkerInfo::default() }
}

/// The value of a counter of a [`commanded`] guest, below the number of workers in the table.
pub(crate) async fn counter(policy: &Policy, table: &WorkerTable, slot: usize) -> usize {
    policy.decide_async(table, &asking(&prompt(64 + slot))).await.expect("it decides").index()
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

/// Loads bytes under a name, with the first document's numbers and without a probation.
pub(crate) async fn load(
    factory: &PolicyFactory,
    name: &str,
    wasm: Vec<u8>,
) -> Result<PluginInfo, PluginError> {
    factory.load_wasm_plugin_bytes(config(name), without_probation(), wasm).await
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

/// Healthy workers of an embedder's own, `http://w0` …
pub(crate) fn slice(count: usize) -> Vec<Arc<dyn Worker>> {
    let worker =
        |index| Arc::new(BasicWorker::new(WorkerSpec::new(format!("http://w{index}")))) as Arc<dyn Worker>;
    (0..count).map(worker).collect()
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

/// The defaults, but for a probation: a replaced generation goes at once.
pub(crate) fn without_probation() -> PluginOptions {
    let probation = ProbationOptions { secs: 0, ..ProbationOptions::default() };
    PluginOptions { probation, ..PluginOptions::default() }
}
