//! The breaker, and the judge of rollouts.

pub mod rollout;
pub mod state;
