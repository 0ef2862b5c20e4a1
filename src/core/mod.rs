//! Workers and what is known about them.
//!
//! ```text
//!  Fleet ──owns──► FleetWorker ──has a slot in──► SignalChunk (columns of atomics)
//!    │ publishes                                        ▲
//!    ▼                                                  │ runs
//!  WorkerTable (versioned, immutable) ──────────────────┘
//! ```
//!
//! Policies see only [`candidate_workers::CandidateWorkers`]: the same columns, whether they come from
//! the router's own table or from an embedder's slice of [`worker::Worker`]s.

pub mod report;
pub mod worker;
pub mod signals;
mod slots;
pub mod fleet_worker;
pub mod candidate_workers;
pub mod slice_versions;
pub mod table;
pub mod in_flight;
pub mod fleet;

pub use crate::core::candidate_workers::{CandidateWorkers, SliceCandidates, TableVersion};
pub use crate::core::fleet::{Fleet, FleetError};
pub use crate::core::fleet_worker::FleetWorker;
pub use crate::core::in_flight::InFlight;
pub use crate::core::report::{KnownReport, WorkerReport};
pub use crate::core::table::WorkerTable;
pub use crate::core::worker::{BasicWorker, Worker, WorkerSpec};
pub use sgl_policy_abi::{Column, WorkerRole};
