//! Which workers hold which prefixes of prompts.
//!
//! ```text
//!   request's chain ──► BlockTable (first block of a run ──► Node) ──► Node: run of blocks, set of workers
//!                                                                        │ last block equal: the whole
//!                            column of tokens ◄── workers of the set ────┘ run is; on with the next block
//! ```
//!
//! Blocks that follow one another with the same workers are one `node::Node`, so that memory goes with
//! distinct blocks, and a walk's time with the places where prompts part. Hashes are chained: that the last
//! block of a run is equal says that all are, and the place where a request parts from a run is found by
//! halving.
//!
//! Readers walk `shared::Shared`; the `index_writer::IndexWriter` knows besides who used what last, and what
//! workers call the blocks that they report.

mod words;
mod block_table;
mod node;
mod walk;
mod column;
mod entries;
mod holders;
mod cache_size;
mod shared;
mod tree;
mod sets;
mod named_run;
mod name_table;
mod reported_names;
mod index_writer;
mod naming;
mod forgetting;
mod index;
mod kept_beside;

pub use crate::prefix_index::column::ColumnOrder;
pub use crate::prefix_index::index::{IndexedWorker, PrefixIndex, PrefixIndexStats};
pub use crate::prefix_index::kept_beside::KeptBeside;
pub use crate::prefix_index::naming::ReportedBlock;
