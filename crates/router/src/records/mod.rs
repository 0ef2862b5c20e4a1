//! Decision records of a sample of requests: what was known, what was chosen, and what came of it.
//!
//! ```text
//!  request ─ begin ─► Draft ─ asking, decided (each attempt) ─ end ─► Recorder ─┬─ the newest, kept
//!                                                                               └─ Writer: JSON lines
//! ```
//!
//! A request that is not sampled costs one random number; without a recorder nothing at all.

mod writer;
mod recorder;
pub(crate) mod asked;
pub(crate) mod all_inputs;
mod hears_decisions;
pub(crate) mod draft;

pub(crate) use crate::records::draft::{Draft, DraftFor};
pub(crate) use crate::records::hears_decisions::HearsDecisions;
pub use crate::records::recorder::Recorder;
