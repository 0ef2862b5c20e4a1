//! The breaker, and the judge of rollouts.

#[path = "../../../../src/policies/wasm/breaker.rs"]
pub mod breaker;
#[path = "../../../../src/policies/wasm/latency.rs"]
pub mod latency;
#[path = "../../../../src/policies/wasm/significance.rs"]
pub mod significance;
#[path = "../../../../src/policies/wasm/verdict.rs"]
pub mod verdict;
