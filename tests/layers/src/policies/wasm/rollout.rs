//! The judge of rollouts.

#[path = "../../../../../src/policies/wasm/rollout/significance.rs"]
pub mod significance;
#[path = "../../../../../src/policies/wasm/rollout/canary_verdict.rs"]
pub mod canary_verdict;
