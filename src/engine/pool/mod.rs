//! Pre-warmed instances of one generation: idle ones, callers that wait, recycling.
//!
//! ```text
//!            acquire                            release
//!   this thread's slot ──► shared queue    slot, else queue ◄── clean, young ── Lease
//!            │ empty                            │ somebody waits: wake the first to try
//!            ▼                                  │ used up, dirty, closed
//!   others' slots, for a moment again and again ▼
//!            │                               destroyed in the background, refilled
//!            ├── below the limit: make one
//!            └── wait in order
//! ```

pub(crate) mod options;
pub(crate) mod recipe;
mod line;
mod queue;
pub(crate) mod waiters;
mod idle;
pub(crate) mod instance_pool;
mod upkeep;
pub(crate) mod lease;
mod acquire;

pub(crate) use crate::engine::pool::instance_pool::{Pool, PoolCounts};
