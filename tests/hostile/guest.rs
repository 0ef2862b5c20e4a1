//! Guests as text, put together from the parts that a case needs to be wicked in.

use sgl_policy_abi::Concurrency;
use sgl_policy_abi::Input;
use sgl_policy_abi::Manifest;
use sgl_policy_abi::Wire;
use sgl_policy_abi::encode_to_vec;

/// A guest that behaves, and decides as `bad` says once it is asked [`BAD`](crate::stage::BAD).
pub(crate) struct Guest<'a> {
    /// Fields that come first: imports and custom sections.
    pub(crate) imports: &'a str,
    /// The manifest, as a field; empty = the row form.
    pub(crate) manifest: String,
    /// The memory.
    pub(crate) memory: &'a str,
    /// More fields.
    pub(crate) fields: &'a str,
    /// Body of `alloc`, with `$size` and a local `$at`.
    pub(crate) alloc: &'a str,
    /// Body of `dealloc`, with `$at` and `$size`.
    pub(crate) dealloc: &'a str,
    /// Body of `init`, which takes no message.
    pub(crate) init: &'a str,
    /// What it does on the bad request, with `$ptr`, `$len` and two locals `$i` and `$j`; it falls
    /// through to worker 0.
    pub(crate) bad: &'a str,
    /// What it does on every request before it looks which it is.
    pub(crate) always: &'a str,
}

/// A bump allocator above the first page, which grows memory as it must.
const ALLOC: &str = "
  (local.set $at (global.get $heap))
  (global.set $heap (i32.add (global.get $heap) (local.get $size)))
  (block $fits
    (br_if $fits (i32.le_u (global.get $heap) (i32.mul (memory.size) (i32.const 65536))))
    (br_if $fits (i32.ne (i32.const -1)
      (memory.grow (i32.sub (i32.shr_u (i32.add (global.get $heap) (i32.const 65535)) (i32.const 16))
                            (memory.size)))))
    (return (i32.const 0)))
  (local.get $at)";

/// Never ends.
pub(crate) const FOREVER: &str = "(loop $forever (br $forever))";

/// Choices 0 to 3, one byte each, at 16.
const CHOICES: &str = r#"(data (i32.const 16) "\00\01\02\03")"#;

impl Default for Guest<'_> {
    fn default() -> Self {
        Self {
            imports: "",
            manifest: manifest(&[Input::PromptBytes]),
            memory: r#"(memory (export "memory") 2)"#,
            fields: "",
            alloc: ALLOC,
            dealloc: "",
            init: "",
            bad: "",
            always: "",
        }
    }
}

impl Guest<'_> {
    /// The module, translated.
    pub(crate) fn wasm(&self) -> Vec<u8> {
        let text = self.text();
        wat::parse_str(&text).unwrap_or_else(|error| panic!("{error}\n{text}"))
    }

    /// The module. The last byte of its message, the size of the prompt, is what it is asked.
    pub(crate) fn text(&self) -> String {
        let Self { imports, manifest, memory, fields, alloc, dealloc, init, bad, always } = self;
        format!(
            r#"(module {imports}{manifest}{memory}{CHOICES}{fields}
            (global $heap (mut i32) (i32.const 65536))
            (func $alloc (export "alloc") (param $size i32) (result i32) (local $at i32) {alloc})
            (func $dealloc (export "dealloc") (param $at i32) (param $size i32) {dealloc})
            (func $init (export "init") {init})
            (func $select (export "select_worker") (param $ptr i32) (param $len i32) (result i64)
              (local $i i32) (local $j i32)
              {always}
              (if (i32.eq (i32.const 1)
                    (i32.load8_u (i32.sub (i32.add (local.get $ptr) (local.get $len)) (i32.const 1))))
                (then {bad}))
              {}))"#,
            answer(16, 1)
        )
    }
}

/// A guest that does this on the bad request.
pub(crate) fn guest(bad: &str) -> Vec<u8> {
    Guest { bad, ..Guest::default() }.wasm()
}

/// A guest that gives this answer to the bad request.
pub(crate) fn answering(bytes: &[u8]) -> Vec<u8> {
    let fields = format!(r#"(data (i32.const 1024) "{}")"#, escaped(bytes));
    let bad = format!("(return {})", answer(1024, u32::try_from(bytes.len()).unwrap()));
    Guest { fields: &fields, bad: &bad, ..Guest::default() }.wasm()
}

/// A module of these fields.
pub(crate) fn module(fields: &str) -> Vec<u8> {
    let text = format!("(module {fields})");
    wat::parse_str(&text).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

/// The instruction that answers `len` bytes at `at`.
pub(crate) fn answer(at: u32, len: u32) -> String {
    format!("(i64.const {})", sgl_policy_abi::pack(at, len))
}

/// A manifest of a column guest, as a field.
pub(crate) fn manifest(inputs: &[Input]) -> String {
    section(&Manifest { inputs: inputs.to_vec(), ..plain_manifest() })
}

/// A manifest that names no inputs.
pub(crate) fn plain_manifest() -> Manifest {
    Manifest {
        abi: 1,
        name: "hostile".into(),
        version: "1".into(),
        description: String::new(),
        wire: Wire::Columns,
        inputs: Vec::new(),
        concurrency: Concurrency::Parallel,
    }
}

/// A manifest as a field.
pub(crate) fn section(manifest: &Manifest) -> String {
    let bytes = encode_to_vec(|writer| manifest.encode(writer)).expect("fits");
    custom("sgl.policy", &bytes)
}

/// A custom section as a field.
pub(crate) fn custom(name: &str, bytes: &[u8]) -> String {
    format!(r#"(@custom "{name}" "{}")"#, escaped(bytes))
}

/// Bytes as the inside of a WAT string.
pub(crate) fn escaped(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("\\{byte:02x}")).collect()
}

/// Imports of WASI functions as `$<name>`, with their parameters; each gives an error number.
pub(crate) fn wasi(functions: &[(&str, &str)]) -> String {
    let field = |(name, params): &(&str, &str)| {
        format!(r#"(import "wasi_snapshot_preview1" "{name}" (func ${name} (param {params}) (result i32)))"#)
    };
    functions.iter().map(field).collect()
}

/// The host functions.
pub(crate) const HOST: &str = r#"
  (import "sgl" "log" (func $log (param i32 i32 i32)))
  (import "sgl" "counter_add" (func $count (param i32 i64) (result i64)))
  (import "sgl" "kv_get" (func $kv_get (param i32 i32 i32 i32) (result i32)))
  (import "sgl" "kv_set" (func $kv_set (param i32 i32 i32 i32) (result i32)))
"#;
