//! The judge of rollouts.

#[path = "../../../../../src/policies/wasm/rollout/significance.rs"]
pub mod significance;
#[path = "../../../../../src/policies/wasm/rollout/verdict.rs"]
pub mod verdict;
