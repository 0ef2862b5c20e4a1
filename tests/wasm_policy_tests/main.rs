//! Plugins from the outside, through the public API: load, list, create, decide, replace, unload,
//! and every refusal.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a panic in a helper is a failed test"
)]

#[cfg(unix)]
mod aot_cache;
mod cancellation;
mod candidates;
mod capture;
mod columns;
mod counting;
mod decoder;
mod failures_wall_clock;
#[cfg(unix)]
mod files;
mod host_functions;
mod index_month;
mod lifecycle;
mod old_modules;
mod outcomes;
mod pairs;
mod panics;
mod pool;
mod put_off;
mod refusals;
mod rollout;
mod rows;
mod sandbox;
mod shipped;
#[cfg(unix)]
mod signatures;
mod tables;
mod tickets;
mod views;
mod waiting;
mod wasi;
