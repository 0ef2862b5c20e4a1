//! Guests that do what the size of the prompt asks for.

use sgl_policy_abi::{Concurrency, Input};
use sglang_router_rs::core::WorkerTable;
use sglang_router_rs::policies::PolicyHandle;

use crate::manifest::{manifest, manifest_of};
use crate::plugins::asking;
use crate::small_guests::{BASICS, guest_with};
use crate::text::{HOST, answer, parsed};

/// Needs [`HOST`]. `$echo` logs bytes as `<tag>:<hex>`, a line for each 1000 of them; `$number`
/// logs an `i64` that way. Both use memory from 40,000 on.
pub const ECHO: &str = r#"
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
pub fn commanded(fields: &str, cases: &str) -> Vec<u8> {
    commanded_as(Concurrency::Parallel, fields, cases)
}

/// The same, parallel or serial.
pub fn commanded_as(concurrency: Concurrency, fields: &str, cases: &str) -> Vec<u8> {
    let manifest = manifest_of(&[Input::PromptBytes], concurrency);
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
pub fn on(command: u32, instructions: &str) -> String {
    format!("(if (i32.eq (local.get $command) (i32.const {command})) (then {instructions}))")
}

/// Loops until counter 0 is not zero, which a later generation's `init` sees to: [`opener`].
pub const WAIT_AT_GATE: &str =
    "(loop $wait (br_if $wait (i64.eqz (call $count (i32.const 0) (i64.const 0)))))";

/// A plain guest whose `init` opens the gate of [`WAIT_AT_GATE`].
pub fn opener() -> Vec<u8> {
    parsed(&format!(
        r#"(module {HOST} {} {BASICS}
           (func (export "init") (drop (call $count (i32.const 0) (i64.const 1))))
           (data (i32.const 16) "\00")
           (func (export "select_worker") (param i32 i32) (result i64) {}))"#,
        manifest(&[Input::PromptBytes]),
        answer(16, 1)
    ))
}

/// A prompt of that many bytes, which is a command for a [`commanded`] guest.
pub fn prompt(command: usize) -> String {
    "x".repeat(command)
}

/// The value of a counter of a [`commanded`] guest, below the number of workers in the table.
pub async fn counter(policy: &PolicyHandle, table: &WorkerTable, slot: usize) -> usize {
    policy.decide_async(table, &asking(&prompt(64 + slot))).await.expect("it decides").index()
}
