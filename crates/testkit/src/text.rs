//! Pieces of modules as text.

/// A bump allocator above the first page, which grows memory as it must: the body of `alloc`.
macro_rules! allocator {
    () => {
        "
  (local.set $at (global.get $heap))
  (global.set $heap (i32.add (global.get $heap) (local.get $size)))
  (block $fits
    (br_if $fits (i32.le_u (global.get $heap) (i32.mul (memory.size) (i32.const 65536))))
    (br_if $fits (i32.ne (i32.const -1)
      (memory.grow (i32.sub (i32.shr_u (i32.add (global.get $heap) (i32.const 65535)) (i32.const 16))
                            (memory.size)))))
    (return (i32.const 0)))
  (local.get $at)"
    };
}
pub(crate) use allocator;

/// The host functions that most guests use.
pub const HOST: &str = r#"
  (import "sgl" "log" (func $log (param i32 i32 i32)))
  (import "sgl" "counter_add" (func $count (param i32 i64) (result i64)))
  (import "sgl" "kv_get" (func $kv_get (param i32 i32 i32 i32) (result i32)))
  (import "sgl" "kv_set" (func $kv_set (param i32 i32 i32 i32) (result i32)))
"#;

/// The instruction that answers `len` bytes at `at`.
pub fn answer(at: u32, len: u32) -> String {
    format!("(i64.const {})", sgl_policy_abi::pack(at, len))
}

/// A module of these fields.
pub fn module(fields: &str) -> Vec<u8> {
    parsed(&format!("(module {fields})"))
}

/// A whole module, translated.
pub fn parsed(text: &str) -> Vec<u8> {
    wat::parse_str(text).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

/// A custom section as a field.
pub fn custom_section(name: &str, bytes: &[u8]) -> String {
    format!(r#"(@custom "{name}" "{}")"#, escaped(bytes))
}

/// Bytes as the inside of a WAT string.
pub fn escaped(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("\\{byte:02x}")).collect()
}
