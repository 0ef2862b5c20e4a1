//! The router's own books: exact at every moment, and zero when nothing is in flight.
//!
//! A target of its own: who wants the books kept, wants it of the whole process.

mod columns;
mod model;
mod plugins;
mod threads;
