//! Small types that every layer shares: per-thread sharding, sets of workers.
//!
//! Nothing here knows workers, plugins or HTTP.

pub mod file;
pub mod future;
pub mod hash;
pub mod hex;
pub mod shard;
pub mod shown;
pub mod worker_set;

pub use crate::types::future::BoxFuture;
pub use crate::types::hash::stable_hash;
pub use crate::types::shard::Sharded;
pub use crate::types::shown::{printable, printable_lines, shown, shown_path};
pub use crate::types::worker_set::WorkerSet;
