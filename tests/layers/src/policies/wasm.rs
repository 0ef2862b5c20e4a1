//! The breaker, and the judge of rollouts.

#[path = "../../../../src/policies/wasm/breaker.rs"]
pub mod breaker;
#[path = "../../../../src/policies/wasm/verdict.rs"]
pub mod verdict;
