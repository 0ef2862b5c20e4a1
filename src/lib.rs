//! Routing policies as sandboxed, hot-swappable WebAssembly plugins.
