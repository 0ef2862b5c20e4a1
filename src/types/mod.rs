//! Small types that every layer shares: per-thread sharding, sets of workers, hashes of prompts, the time,
//! files and their lines.
//!
//! Nothing here knows workers, plugins or HTTP.

pub mod file;
mod bounded_lines;
pub(crate) mod future;
pub(crate) mod hash;
pub(crate) mod json_pointer;
mod prefix_hashes;
mod prefix_rule;
mod token_chain;
pub mod hex;
pub(crate) mod shard;
pub(crate) mod shown;
pub(crate) mod virtual_time;
pub(crate) mod worker_set;

pub use crate::types::bounded_lines::{BoundedLine, BoundedLines, SkippedLine, SkippedLines, too_long};
pub use crate::types::future::BoxFuture;
pub use crate::types::json_pointer::JsonPointer;
pub use crate::types::prefix_hashes::{PrefixBlocks, PrefixHasher, PrefixSeed, hash_of};
pub use crate::types::prefix_rule::prefix_rule;
pub use crate::types::shard::{Local, Sharded};
pub use crate::types::shown::{in_full, printable, printable_lines, shown, shown_number, shown_path};
pub use crate::types::token_chain::TokenChain;
pub use crate::types::virtual_time::VirtualTime;
pub use crate::types::worker_set::WorkerSet;
