//! Which generations of a plugin are in use, and every change of that.
//!
//! It owns the pointer that decisions read (`active`), canaries, shadows, probations, promotions and
//! rollbacks, pausing and unloading. It refuses to know how a generation is made or a decision is asked
//! for: it hears of failures, and judges by counts. The registry and the decisions call it.

pub(crate) mod operation_error;
pub(crate) mod event;
mod significance;
pub(crate) mod canary_verdict;
pub(crate) mod policy_side;
pub(crate) mod shadow;
pub(crate) mod active;
mod phase;
mod handover;
pub(crate) mod wasm_policy;
mod take_over;
mod roll_back;
mod supervision;
mod install;
mod in_service;
