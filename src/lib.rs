//! Routing policies as sandboxed, hot-swappable WebAssembly plugins.

#[cfg(feature = "router")]
pub mod cli;
#[cfg(feature = "router")]
pub mod sim;
