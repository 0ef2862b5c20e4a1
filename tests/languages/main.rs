//! Policies of all languages: they decide as those in Rust do, and fail as plainly.
//!
//! Guests are called by hand, with messages that a seed makes and without a router between, so that answers can be
//! compared exactly; what only a router shows (loads, faults of configurations, panics) goes through one.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a panic in a helper is a failed test"
)]

mod messages;
mod modules;
mod plain_guest;

mod everything;
mod hostile_bytes;
mod least_work;
mod loading;
