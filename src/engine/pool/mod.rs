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

pub mod options;
pub mod recipe;
pub(crate) mod line;
pub(crate) mod queue;
pub mod waiters;
pub(crate) mod idle;
pub mod instance_pool;
pub(crate) mod upkeep;
pub mod lease;
mod acquire;

pub use crate::engine::pool::instance_pool::{Pool, PoolCounts};
pub use crate::engine::pool::lease::Lease;
pub use crate::engine::pool::options::PoolOptions;
pub use crate::engine::pool::recipe::{PoolTally, Recipe};
