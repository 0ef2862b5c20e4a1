//! What of a pool is the same for any things.

#[path = "../../../../src/engine/pool/idle.rs"]
pub mod idle;
#[path = "../../../../src/engine/pool/line.rs"]
pub mod line;
#[path = "../../../../src/engine/pool/queue.rs"]
pub mod queue;
#[path = "../../../../src/engine/pool/waiters.rs"]
pub mod waiters;
