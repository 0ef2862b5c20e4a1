//! Files of the router that need no Wasm engine, by their own paths: with an engine neither Miri
//! nor the thread sanitizer could run them. `scripts/sanitize.sh` runs their unit tests and
//! `stress` under both.
#![allow(dead_code, unused_imports, unreachable_pub, reason = "only a part of the library is here")]

#[path = "../../../src/types/mod.rs"]
pub mod types;
#[path = "../../../src/prefix_index/mod.rs"]
pub mod prefix_index;
pub mod config;
#[path = "../../../src/core/mod.rs"]
pub mod core;
pub mod engine;
pub mod policies;

#[cfg(test)]
mod stress;
