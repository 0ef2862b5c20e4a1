//! One decision of a plugin, from the question to the checked choice.
//!
//! ```text
//!  forms ─► ask ─► call ─► guest ─► check ─► Decision
//!            └─ failure ─► the stable generation again, or the fallback policy
//! ```
//!
//! It owns the way of one question through breaker, canary, instance and fallback, and the batches of
//! finished requests. It refuses to know how generations are made and replaced: it takes the ones in
//! use as they are, and tells the rollout what failed. Routers call it through
//! [`LoadBalancingPolicy`](crate::policies::LoadBalancingPolicy).

mod undecided;
mod failure;
mod question;
mod outliving;
mod call;
mod judging;
mod telling;
mod alone;
mod ask;
mod forms;
mod inspection;
