//! Guests as text.

use sgl_policy_abi::{Concurrency, Input, MANIFEST_SECTION, Manifest, Wire, encode_to_vec};

/// What every guest here starts with: memory, a bump allocator from 128 KiB on, an answer that
/// chooses worker 0.
const BASICS: &str = r#"
  (memory (export "memory") 3)
  (data (i32.const 16) "\00")
  (global $heap (mut i32) (i32.const 131072))
  (func (export "alloc") (param $size i32) (result i32)
    (local $at i32)
    (local.set $at (global.get $heap))
    (global.set $heap (i32.add (global.get $heap) (local.get $size)))
    (block $fits
      (br_if $fits (i32.le_u (global.get $heap) (i32.mul (memory.size) (i32.const 65536))))
      (br_if $fits (i32.ne (i32.const -1)
        (memory.grow (i32.shr_u (i32.add (local.get $size) (i32.const 65535)) (i32.const 16)))))
      (return (i32.const 0)))
    (local.get $at))
  (func (export "dealloc") (param i32 i32))
  (func (export "init"))"#;

/// Worker 0: one byte at 16.
const WORKER_0: &str = "(i64.const 0x1000000001)";

/// A manifest's bytes.
pub(crate) fn manifest(wire: Wire, inputs: Vec<Input>, concurrency: Concurrency) -> Vec<u8> {
    let (name, version) = ("fuzzed".into(), "1".into());
    let manifest = Manifest { abi: 1, name, version, description: String::new(), wire, inputs, concurrency };
    encode_to_vec(|writer| manifest.encode(writer)).expect("fits")
}

fn module(manifest: &[u8], fields: &str) -> Vec<u8> {
    let escaped: String = manifest.iter().map(|byte| format!("\\{byte:02x}")).collect();
    let text = format!(r#"(module (@custom "{MANIFEST_SECTION}" "{escaped}") {BASICS} {fields})"#);
    wat::parse_str(&text).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

/// A guest that always chooses worker 0.
pub(crate) fn plain() -> Vec<u8> {
    let manifest = manifest(Wire::Columns, Vec::new(), Concurrency::Parallel);
    module(&manifest, &format!(r#"(func (export "select_worker") (param i32 i32) (result i64) {WORKER_0})"#))
}

/// Functions that read answers out of a message's last tokens: bytes, padding to a multiple of 4,
/// a whole `i64`, a flag, the number of bytes. `$is_trial`: there are no tokens, which is nil.
const TOKENS: &str = "
  (func $is_trial (param $end i32) (result i32)
    (i32.eq (i32.load8_u (i32.sub (local.get $end) (i32.const 1))) (i32.const 0xc0)))
  (func $is_raw (param $end i32) (result i32) (i32.load (i32.sub (local.get $end) (i32.const 8))))
  (func $raw (param $end i32) (result i64) (i64.load (i32.sub (local.get $end) (i32.const 16))))
  (func $bytes (param $end i32) (result i32) (i32.load (i32.sub (local.get $end) (i32.const 4))))
  (func $start (param $end i32) (result i32)
    (i32.sub (i32.sub (local.get $end) (i32.const 16))
      (i32.and (i32.add (call $bytes (local.get $end)) (i32.const 3)) (i32.const -4))))
  (func $answer (param $ptr i32) (param $len i32) (result i64)
    (local $end i32)
    (local.set $end (i32.add (local.get $ptr) (local.get $len)))
    (if (call $is_trial (local.get $end)) (then (return (i64.const 0x1000000001))))
    (if (call $is_raw (local.get $end)) (then (return (call $raw (local.get $end)))))
    (i64.or (i64.shl (i64.extend_i32_u (call $start (local.get $end))) (i64.const 32))
      (i64.extend_i32_u (call $bytes (local.get $end)))))";

/// A column guest that answers what the last tokens of the request are, to both questions.
pub(crate) fn answering() -> Vec<u8> {
    let manifest = manifest(Wire::Columns, vec![Input::RequestTokens], Concurrency::Parallel);
    let exports = r#"(export "select_worker" (func $answer))
      (data (i32.const 24) "\92\00\01")
      (func (export "select_worker_pair") (param $ptr i32) (param $len i32) (result i64)
        (if (call $is_trial (i32.add (local.get $ptr) (local.get $len)))
          (then (return (i64.const 0x1800000003))))
        (call $answer (local.get $ptr) (local.get $len)))"#;
    module(&manifest, &format!("{TOKENS} {exports}"))
}

/// The same, with the first plugins' form of results: their size lies before them.
pub(crate) fn answering_sized() -> Vec<u8> {
    let manifest = manifest(Wire::Columns, vec![Input::RequestTokens], Concurrency::Parallel);
    let select = r#"(data (i32.const 32) "\01\00\00\00\00")
      (func (export "select_worker") (param $ptr i32) (param $len i32) (result i32)
        (local $end i32) (local $start i32)
        (local.set $end (i32.add (local.get $ptr) (local.get $len)))
        (if (call $is_trial (local.get $end)) (then (return (i32.const 32))))
        (if (call $is_raw (local.get $end)) (then (return (i32.wrap_i64 (call $raw (local.get $end))))))
        (local.set $start (i32.sub (call $start (local.get $end)) (i32.const 4)))
        ;; Over the last bytes before the answer, which are of no use any more.
        (i32.store (local.get $start) (call $bytes (local.get $end)))
        (local.get $start))"#;
    module(&manifest, &format!("{TOKENS} {select}"))
}

/// A row guest that answers what the text of the request says: `@@@`, then two letters from `a`
/// to `p` for each byte, then `!`. It answers worker 0 to other texts.
pub(crate) fn answering_rows() -> Vec<u8> {
    let manifest = manifest(Wire::Rows, Vec::new(), Concurrency::Parallel);
    let select = format!(
        r#"(func $digit (param $at i32) (result i32)
        (i32.sub (i32.load8_u (local.get $at)) (i32.const 97)))
      (func (export "select_worker") (param $at i32) (param $len i32) (result i64)
        (local $end i32) (local $to i32) (local $four i32)
        (local.set $end (i32.add (local.get $at) (local.get $len)))
        (block $found
          (loop $seek
            (local.set $four (i32.load (local.get $at)))
            ;; A fourth would be the text's own: what precedes it is the length, 64, of the text.
            (br_if $found (i32.and
              (i32.eq (i32.and (local.get $four) (i32.const 0xffffff)) (i32.const 0x404040))
              (i32.ne (local.get $four) (i32.const 0x40404040))))
            (local.set $at (i32.add (local.get $at) (i32.const 1)))
            (br_if $seek (i32.lt_u (local.get $at) (local.get $end))))
          (return {WORKER_0}))
        (local.set $at (i32.add (local.get $at) (i32.const 3)))
        (local.set $to (i32.const 65536))
        (block $over
          (loop $next
            (br_if $over (i32.eq (i32.load8_u (local.get $at)) (i32.const 33)))
            (i32.store8 (local.get $to)
              (i32.or (i32.shl (call $digit (local.get $at)) (i32.const 4))
                (call $digit (i32.add (local.get $at) (i32.const 1)))))
            (local.set $to (i32.add (local.get $to) (i32.const 1)))
            (local.set $at (i32.add (local.get $at) (i32.const 2)))
            (br $next)))
        (i64.or (i64.const 0x1000000000000)
          (i64.extend_i32_u (i32.sub (local.get $to) (i32.const 65536)))))"#
    );
    module(&manifest, &select)
}
