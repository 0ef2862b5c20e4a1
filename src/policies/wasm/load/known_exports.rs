//! The exports of a module that the host knows.

use sgl_policy_abi::export;
use wasmparser::ValType;

/// A signature: parameters, then results.
type Signature = (&'static [ValType], &'static [ValType]);

const I32: ValType = ValType::I32;
const I64: ValType = ValType::I64;
const MESSAGE: &[ValType] = &[I32, I32];

/// An export that the host knows: name, allowed signatures, their text, whether it is needed.
pub(super) struct KnownExport {
    pub(super) name: &'static str,
    pub(super) allowed: &'static [Signature],
    pub(super) expected: &'static str,
    pub(super) needed: bool,
}

pub(super) const KNOWN_EXPORTS: [KnownExport; 12] = [
    known(export::ALLOC, &[(&[I32], &[I32])], "(i32) -> i32", true),
    known(export::DEALLOC, &[(MESSAGE, &[])], "(i32, i32)", true),
    known(export::INIT, &[(&[], &[]), (MESSAGE, &[I64])], "() or (i32, i32) -> i64", true),
    known(
        export::SELECT_WORKER,
        &[(MESSAGE, &[I64]), (MESSAGE, &[I32])],
        "(i32, i32) -> i64, or (i32, i32) -> i32",
        true,
    ),
    known(export::SELECT_WORKER_PAIR, &[(MESSAGE, &[I64])], "(i32, i32) -> i64", false),
    known(export::ON_WORKERS, &[(MESSAGE, &[])], "(i32, i32)", false),
    known(export::ON_FIRST_TOKEN, &[(MESSAGE, &[])], "(i32, i32)", false),
    known(export::ON_COMPLETE, &[(MESSAGE, &[])], "(i32, i32)", false),
    known(export::ON_SESSION_END, &[(MESSAGE, &[])], "(i32, i32)", false),
    known(export::SAVE_STATE, &[(&[], &[I64])], "() -> i64", false),
    known(export::RESTORE_STATE, &[(MESSAGE, &[])], "(i32, i32)", false),
    known(export::INITIALIZE, &[(&[], &[])], "()", false),
];

const fn known(
    name: &'static str,
    allowed: &'static [Signature],
    expected: &'static str,
    needed: bool,
) -> KnownExport {
    KnownExport { name, allowed, expected, needed }
}
