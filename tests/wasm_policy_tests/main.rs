//! Plugins from the outside, through the public API: load, list, create, decide, replace, unload,
//! and every refusal.

mod cancellation;
mod columns;
mod failures_wall_clock;
mod lifecycle;
mod pool;
mod refusals;
mod rows;
mod sandbox;
mod support;
