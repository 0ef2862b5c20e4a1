//! Policies that are Wasm plugins.
//!
//! ```text
//!  registry ─► load: bytes ─► Generation ─► rollout: Generation ─► in use
//!                                                                   │
//!  decide:  question ─► generation in use ─► message ─► guest ─► checked choice
//! ```
//!
//! A *plugin* is a name with its state; a *generation* is one loaded, compiled, warmed version of
//! it. A call keeps the generation that it started on.
//!
//! Each room knows only those before it, in this order: `state`, `message`, `load`, `rollout`,
//! `decide`.

pub(crate) mod state;
pub(crate) mod message;
pub(crate) mod load;
pub(crate) mod rollout;
mod decide;
pub(crate) mod detail;
pub(crate) mod stand_in;
pub(crate) mod registry;
