//! Routing policies as sandboxed, hot-swappable WebAssembly plugins.

pub mod core;
pub mod types;
