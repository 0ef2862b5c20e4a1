//! The router's own books: exact at every moment, and zero when nothing is in flight.
//!
//! A target of its own: who wants the books kept, wants it of the whole process.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a panic in a helper is a failed test")]

mod columns;
mod model;
mod plugins;
mod threads;
