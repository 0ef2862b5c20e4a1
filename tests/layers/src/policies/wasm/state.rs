//! The breaker, and what a rollout is judged by.

#[path = "../../../../../src/policies/wasm/state/breaker.rs"]
pub mod breaker;
#[path = "../../../../../src/policies/wasm/state/latency.rs"]
pub mod latency;
#[path = "../../../../../src/policies/wasm/state/seen.rs"]
pub mod seen;
