//! Routing policies as sandboxed, hot-swappable WebAssembly plugins.

pub mod types;
pub mod config;
#[cfg(feature = "router")]
pub mod metrics;
pub mod core;
pub mod engine;
pub mod policies;
#[cfg(feature = "router")]
pub mod proxy;
#[cfg(feature = "router")]
pub mod admin;
#[cfg(feature = "router")]
pub mod sim;
#[cfg(feature = "router")]
pub mod cli;
