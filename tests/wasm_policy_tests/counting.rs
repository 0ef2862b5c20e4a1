//! Row-form guests that count in their `state`.

use sgl_testkit::commanded::ECHO;
use sgl_testkit::plugins::asking;
use sgl_testkit::small_guests::guest_with;
use sgl_testkit::text::HOST;
use sglang_router_rs::core::WorkerTable;
use sglang_router_rs::policies::PolicyHandle;

use crate::capture::take_echo;

/// Finds `state` at the end of the message: an empty map, or `{"n": u32}` of eight bytes; and in
/// front of it `"config": {}` and the last character of the request's text.
const FIND: &str = r#"
  (local $end i32) (local $n i32) (local $state i32) (local $word i32)
  (local.set $end (i32.add (local.get $ptr) (local.get $len)))
  (local.set $state (i32.sub (local.get $end) (i32.const 1)))
  (if (i32.and (i32.eq (i32.load8_u (i32.sub (local.get $end) (i32.const 8))) (i32.const 0x81))
               (i32.eq (i32.load8_u (i32.sub (local.get $end) (i32.const 5))) (i32.const 0xce)))
    (then
      (local.set $state (i32.sub (local.get $end) (i32.const 8)))
      (loop $digits
        (local.set $n (i32.or (i32.shl (local.get $n) (i32.const 8))
          (i32.load8_u (i32.sub (local.get $end) (i32.sub (i32.const 4) (local.get $word))))))
        (local.set $word (i32.add (local.get $word) (i32.const 1)))
        (br_if $digits (i32.lt_u (local.get $word) (i32.const 4))))))
  (local.set $word (i32.load8_u (i32.sub (local.get $state) (i32.const 15))))
"#;

/// Answers worker 0 and `{"n": n + 1}`.
const COUNT: &str = r#"
  (local.set $n (i32.add (local.get $n) (i32.const 1)))
  (i32.store8 (i32.const 1052) (i32.shr_u (local.get $n) (i32.const 24)))
  (i32.store8 (i32.const 1053) (i32.shr_u (local.get $n) (i32.const 16)))
  (i32.store8 (i32.const 1054) (i32.shr_u (local.get $n) (i32.const 8)))
  (i32.store8 (i32.const 1055) (local.get $n))
"#;

const ANSWER: &str = r#"(data (i32.const 1024) "\82\afselected_worker\00\a5state\81\a1n\ce\00\00\00\00")"#;

fn counting(when: &str) -> Vec<u8> {
    let body = format!(
        r#"{FIND}
        (if (i32.eq (local.get $word) (i32.const 63)) (then
          (call $number (i32.const 78) (i64.extend_i32_u (local.get $n)))
          (i32.store8 (i32.const 16) (i32.const 0))
          (return {one})))
        (if (i32.eq (local.get $word) (i32.const 33)) (then (loop $forever (br $forever))))
        (if {when} (then {COUNT} (return {all})))
        (i32.store8 (i32.const 16) (i32.const 0))
        {one}"#,
        one = sgl_testkit::text::answer(16, 1),
        all = sgl_testkit::text::answer(1024, 32),
    );
    guest_with(&format!("{HOST}{ECHO}{ANSWER}"), &body)
}

/// Counts every decision but those whose text ends in `?` (logs its count) or `!` (never ends).
pub(crate) fn counts_always() -> Vec<u8> {
    counting("(i32.const 1)")
}

/// Counts decisions whose text ends in `+` only, so its self-test returns no state.
pub(crate) fn counts_sometimes() -> Vec<u8> {
    counting("(i32.eq (local.get $word) (i32.const 43))")
}

/// What the plugin of that name has counted.
pub(crate) async fn counted(policy: &PolicyHandle, table: &WorkerTable) -> i64 {
    take_echo(policy.name(), 'N');
    policy.decide_async(table, &asking("how many?")).await.expect("it decides");
    crate::capture::take_number(policy.name(), 'N')
}
