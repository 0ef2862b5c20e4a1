//! The model of an inference engine: chunked prefill, continuous batching, a paged cache of prefixes.
//!
//! ```text
//!  requests ─► queue ─ admitted ─► prefilling ─ chunk by chunk ─► decoding ─ token by token ─► done
//!                ▲  needs blocks      │ first token                   │ needs blocks
//!                └────────────────────┴──── preempted ────────────────┘
//! ```
//!
//! It knows nothing of routing. Steps in which nothing begins or ends are not simulated one by one: where
//! they lead is a sum.

mod worker_event;
mod number_range;
mod engine_model;
mod step_time;
mod work_ahead;
mod block_cache;
mod decode_batch;
mod sequence;
mod waiting_line;
mod model_worker;
mod admission;
mod disturbance;

pub use crate::engine::block_cache::KeptUnitChange;
pub use crate::engine::engine_model::{EngineModel, ModelError, PairModel, QueueOrder, ReportedLoad};
pub use crate::engine::model_worker::{EngineEvent, EnginePart, ModelWorker, WorkerLook, WorkerTotals};
pub use crate::engine::work_ahead::WorkAhead;
pub use crate::engine::worker_event::{WorkerEvent, WorkerEventKind, WorkerEvents};
