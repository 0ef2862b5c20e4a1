//! Routing policies as sandboxed, hot-swappable WebAssembly plugins.

pub mod types;
pub mod config;
#[cfg(feature = "router")]
pub mod metrics;
pub mod core;
pub mod policies;
