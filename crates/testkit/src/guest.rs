//! A guest as text, put together from the parts in which a test needs it to be special.

use sgl_policy_abi::Input;

use crate::manifest::manifest;
use crate::text::{allocator, answer, parsed};

/// A guest that behaves, and decides as `bad` says once the prompt is one byte long.
#[derive(Clone, Debug)]
pub struct GuestText<'a> {
    /// Fields that come first: imports and custom sections.
    pub imports: &'a str,
    /// The manifest, as a field; empty = the row form.
    pub manifest: String,
    /// The memory.
    pub memory: &'a str,
    /// More fields.
    pub fields: &'a str,
    /// Body of `alloc`, with `$size` and a local `$at`.
    pub alloc: &'a str,
    /// Body of `dealloc`, with `$at` and `$size`.
    pub dealloc: &'a str,
    /// Body of `init`, which takes no message.
    pub init: &'a str,
    /// What it does on the bad request, with `$ptr`, `$len` and two locals `$i` and `$j`; it falls
    /// through to worker 0.
    pub bad: &'a str,
    /// What it does on every request before it looks which it is.
    pub always: &'a str,
}

/// Never ends.
pub const FOREVER: &str = "(loop $forever (br $forever))";

/// Choices 0 to 3, one byte each, at 16.
const CHOICES: &str = r#"(data (i32.const 16) "\00\01\02\03")"#;

impl Default for GuestText<'_> {
    fn default() -> Self {
        Self {
            imports: "",
            manifest: manifest(&[Input::PromptBytes]),
            memory: r#"(memory (export "memory") 2)"#,
            fields: "",
            alloc: allocator!(),
            dealloc: "",
            init: "",
            bad: "",
            always: "",
        }
    }
}

impl GuestText<'_> {
    /// The module, translated.
    pub fn wasm(&self) -> Vec<u8> {
        parsed(&self.text())
    }

    /// The module. The last byte of its message, the size of the prompt, is what it is asked.
    pub fn text(&self) -> String {
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
