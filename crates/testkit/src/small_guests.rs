//! Guests in a few lines, each decision written out.

use crate::text::{allocator, answer, parsed};

/// What every guest needs besides `select_worker`.
pub const BASICS: &str = concat!(
    r#"
  (memory (export "memory") 2)
  (global $heap (mut i32) (i32.const 65536))
  (func (export "alloc") (param $size i32) (result i32)
    (local $at i32)"#,
    allocator!(),
    r#")
  (func (export "dealloc") (param i32 i32))
"#
);

/// A guest whose `select_worker` has this body (two parameters, an `i64` result), with more
/// module fields before it.
pub fn guest_with(fields: &str, body: &str) -> Vec<u8> {
    parsed(&format!(
        r#"(module {fields} {BASICS} (func (export "init"))
           (func (export "select_worker") (param $ptr i32) (param $len i32) (result i64) {body}))"#
    ))
}

/// A guest whose `select_worker` has this body.
pub fn guest(body: &str) -> Vec<u8> {
    guest_with("", body)
}

/// A guest that always chooses this worker (below 128).
pub fn guest_choosing(index: u8) -> Vec<u8> {
    guest_with(&format!(r#"(data (i32.const 16) "\{index:02x}")"#), &answer(16, 1))
}
