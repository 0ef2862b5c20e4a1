//! What engines publish over ZeroMQ: changes of their caches, which the index of prefixes is fed with, and
//! SGLang's load.
//!
//! ```text
//!  feeds (one a worker) ──asks──► worker: which sockets?
//!    │ one a rank
//!    ├─► subscriber ── sequence ── batch ─► rank feed ─► rank chains ─► held (all ranks) ─► PrefixIndex
//!    └─► load board ─► report (columns)
//! ```
//!
//! What is published is never trusted: a batch that is odd is left out and counted, memory is bounded, and
//! where something was missed all that the rank said is forgotten.
//!
//! Called by the keepers of workers; knows nothing of requests.

mod wire_values;
mod cache_event;
mod cache_names;
mod load_stat;
mod event_source;
mod held_blocks_change;
mod chain_places;
mod chain_extension;
mod rank_chains;
mod sequence;
mod rank_feed;
mod subscriber;
mod load_board;
pub(crate) mod feeds;
