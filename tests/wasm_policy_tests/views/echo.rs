//! A real guest that hands back what it was sent: as the scores of its answer, which are bytes.

use std::collections::HashMap;

use sgl_policy_abi::{Concurrency, Input, MANIFEST_SECTION, Manifest, Wire, encode_to_vec};
use sglang_router_rs::policies::{
    Explanation, Load, PluginOptions, PolicyFactory, PolicyHandle, WasmPolicyConfig,
};

/// Keeps `init` at 1 MiB and tables at 2 MiB until a decision takes them; answers at 3 MiB the map
/// of no choice and these scores: three times a size and a message, then zeroes to a multiple of 4.
const TEXT: &str = r#"
  (memory (export "memory") 160)
  (global $heap (mut i32) (i32.const 0x600000))
  (global $init (mut i32) (i32.const 0))
  (global $table (mut i32) (i32.const 0))
  (global $end (mut i32) (i32.const 0))
  (data (i32.const 0x300000) "\82\afselected_worker\c0\a6scores\c6")
  (func (export "alloc") (param $size i32) (result i32)
    (global.get $heap)
    (global.set $heap (i32.add (global.get $heap) (i32.and (i32.add (local.get $size) (i32.const 7)) (i32.const -8)))))
  (func (export "dealloc") (param i32 i32))
  (func (export "init") (param $at i32) (param $len i32) (result i64)
    (memory.copy (i32.const 0x100000) (local.get $at) (local.get $len))
    (global.set $init (local.get $len))
    (i64.const 0))
  (func (export "on_workers") (param $at i32) (param $len i32)
    (memory.copy (i32.const 0x200000) (local.get $at) (local.get $len))
    (global.set $table (local.get $len)))
  (func $put (param $at i32) (param $len i32)
    (i32.store (global.get $end) (local.get $len))
    (memory.copy (i32.add (global.get $end) (i32.const 4)) (local.get $at) (local.get $len))
    (global.set $end (i32.add (global.get $end) (i32.add (local.get $len) (i32.const 4)))))
  (func $byte (param $at i32) (param $value i32) (i32.store8 (local.get $at) (local.get $value)))
  (func (export "select_worker") (param $at i32) (param $len i32) (result i64)
    (local $size i32)
    (global.set $end (i32.const 0x300000 (;the head's 26 bytes and 4 of the size;)))
    (global.set $end (i32.add (global.get $end) (i32.const 30)))
    (call $put (i32.const 0x100000) (global.get $init))
    (call $put (i32.const 0x200000) (global.get $table))
    (call $put (local.get $at) (local.get $len))
    (global.set $table (i32.const 0))
    (memory.fill (global.get $end) (i32.const 0) (i32.const 4))
    (local.set $size (i32.sub (global.get $end) (i32.const 0x30001e)))
    (local.set $size (i32.and (i32.add (local.get $size) (i32.const 3)) (i32.const -4)))
    (call $byte (i32.const 0x30001a) (i32.shr_u (local.get $size) (i32.const 24)))
    (call $byte (i32.const 0x30001b) (i32.shr_u (local.get $size) (i32.const 16)))
    (call $byte (i32.const 0x30001c) (i32.shr_u (local.get $size) (i32.const 8)))
    (call $byte (i32.const 0x30001d) (local.get $size))
    (i64.or (i64.const 0x30000000000000) (i64.extend_i32_u (i32.add (local.get $size) (i32.const 30)))))
"#;

/// The plugin's name.
pub(crate) const NAME: &str = "echo";

/// What one instance was sent for one decision.
#[derive(Debug)]
pub(crate) struct Messages {
    pub(crate) init: Vec<u8>,
    /// Since the decision before; `None` if nothing.
    pub(crate) table: Option<Vec<u8>>,
    pub(crate) select: Vec<u8>,
}

/// The plugin, loaded in one wire form.
#[derive(Debug)]
pub(crate) struct Echo {
    pub(crate) factory: PolicyFactory,
    pub(crate) policy: PolicyHandle,
}

impl Echo {
    pub(crate) async fn new(
        wire: Wire,
        inputs: Vec<Input>,
        instances: usize,
        config: HashMap<String, serde_json::Value>,
    ) -> Self {
        let factory = PolicyFactory::new();
        let limits = WasmPolicyConfig {
            // Patient: how fast it is does not matter here.
            max_execution_time_ms: 30_000,
            max_memory_bytes: 64 << 20,
            config,
            ..WasmPolicyConfig::new(NAME, "echo.wasm")
        };
        let options =
            // It chooses nobody whatever it is asked.
            PluginOptions {
                min_warm: instances,
                max_instances: instances,
                may_refuse: true,
                ..PluginOptions::default()
            };
        factory.load(Load::bytes(limits, module(wire, inputs)).with(options)).await.expect("it loads");
        let policy = factory.create_by_name(NAME).expect("it is there");
        Self { factory, policy }
    }
}

fn module(wire: Wire, inputs: Vec<Input>) -> Vec<u8> {
    let manifest = Manifest {
        abi: 1,
        name: NAME.into(),
        version: "1".into(),
        description: String::new(),
        wire,
        inputs,
        concurrency: Concurrency::Parallel,
    };
    let bytes = encode_to_vec(|writer| manifest.encode(writer)).expect("fits");
    let escaped: String = bytes.iter().map(|byte| format!("\\{byte:02x}")).collect();
    wat::parse_str(format!(r#"(module (@custom "{MANIFEST_SECTION}" "{escaped}") {TEXT})"#))
        .expect("it is valid")
}

/// Takes the messages out of what the guest gave with its answer.
pub(crate) fn messages(explanation: &Explanation) -> Messages {
    let explained = explanation.take();
    assert_eq!(explained.failure, None);
    let bytes: Vec<u8> = explained.scores.iter().flat_map(|score| score.to_bits().to_le_bytes()).collect();
    let mut rest = bytes.as_slice();
    let mut next = || {
        let (size, after) = rest.split_first_chunk().expect("a size");
        let (message, after) = after.split_at(u32::from_le_bytes(*size) as usize);
        rest = after;
        message.to_vec()
    };
    let (init, table, select) = (next(), next(), next());
    assert!(rest.len() < 4 && rest.iter().all(|byte| *byte == 0), "{rest:?}");
    Messages { init, table: Some(table).filter(|table| !table.is_empty()), select }
}
