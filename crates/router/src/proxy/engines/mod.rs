//! The engines: who a worker is, where it tells of its load, and how to read it.
//!
//! ```text
//!  poll (one a worker) ──asks──► worker
//!    │ identification: which adapter?
//!    ▼
//!  adapter: sglang · vllm · llama_cpp ──reads──► reading (ranks) ──► report (columns), facts (table)
//! ```
//!
//! An adapter is a table of paths and of functions that read bytes: it asks nothing itself, so that one can
//! be tested on the bytes of a real engine. What they read is never trusted: a number that cannot be is
//! unknown and counted, and no answer makes memory grow.
//!
//! Called by the keepers of workers; knows nothing of requests.

pub(crate) mod figure;
pub(crate) mod reading;
mod exposition;
mod adapter;
pub(crate) mod sglang;
pub(crate) mod vllm;
mod llama_cpp;
mod none;
mod catalogue;
mod age;
mod identification;
mod believed_facts;
pub(crate) mod rank_learner;
pub(crate) mod poll;
#[cfg(feature = "tools")]
pub(crate) mod engine_look;
