//! Guests that are wicked in one way.

use sgl_testkit::guest::GuestText;
use sgl_testkit::text::{answer, escaped};

/// A guest that does this on the bad request.
pub(crate) fn guest(bad: &str) -> Vec<u8> {
    GuestText { bad, ..GuestText::default() }.wasm()
}

/// A guest that gives this answer to the bad request.
pub(crate) fn answering(bytes: &[u8]) -> Vec<u8> {
    let fields = format!(r#"(data (i32.const 1024) "{}")"#, escaped(bytes));
    let bad = format!("(return {})", answer(1024, u32::try_from(bytes.len()).unwrap()));
    GuestText { fields: &fields, bad: &bad, ..GuestText::default() }.wasm()
}

/// Imports of WASI functions as `$<name>`, with their parameters; each gives an error number.
pub(crate) fn wasi(functions: &[(&str, &str)]) -> String {
    let field = |(name, params): &(&str, &str)| {
        format!(r#"(import "wasi_snapshot_preview1" "{name}" (func ${name} (param {params}) (result i32)))"#)
    };
    functions.iter().map(field).collect()
}
