//! Workers and what is known about them.
//!
//! ```text
//!  Fleet ──owns──► FleetWorker ──has a slot in──► SignalChunk (columns of atomics)
//!    │ publishes                                        ▲
//!    ▼                                                  │ runs
//!  WorkerTable (versioned, immutable) ──────────────────┘
//! ```
//!
//! What a request adds to the columns of its worker, an [`InFlight`] takes away again: the load and,
//! while somebody wants them, the router's own books ([`KeptBooks`]).
//!
//! Policies see only [`CandidateWorkers`]: the same columns, whether they come from
//! the router's own table or from an embedder's slice of [`Worker`]s.

pub(crate) mod model_names;
pub(crate) mod engine_facts;
pub(crate) mod report;
pub(crate) mod moment;
pub(crate) mod books;
mod bulk_copy;
mod book_page;
mod booked;
mod worker_books;
pub(crate) mod worker;
#[cfg(all(target_arch = "x86_64", not(miri)))]
mod wide_copy;
mod signals;
mod slots;
mod fleet_worker;
mod current_workers;
mod fleet_prefixes;
mod whole_blocks;
pub(crate) mod candidate_workers;
pub(crate) mod slice_versions;
pub(crate) mod table;
pub(crate) mod in_flight;
pub(crate) mod fleet;
mod token_ratios;
mod arrival_rate;

pub use crate::core::arrival_rate::ArrivalRate;
pub use crate::core::books::{BookEntry, BookNumbers, KeptBooks};
pub use crate::core::candidate_workers::{CandidateWorkers, SliceCandidates, TableVersion};
pub use crate::core::engine_facts::EngineFacts;
pub use crate::core::fleet::{Fleet, FleetError};
pub use crate::core::fleet_prefixes::PrefixIndexLimits;
pub use crate::core::fleet_worker::FleetWorker;
pub use crate::core::in_flight::InFlight;
pub use crate::core::model_names::ModelNames;
pub use crate::core::moment::Now;
pub use crate::core::report::{KnownReport, WorkerReport};
pub use crate::core::table::WorkerTable;
pub use crate::core::token_ratios::TokenRatios;
pub use crate::core::worker::{BasicWorker, Worker, WorkerSpec};
pub use crate::core::worker_books::WorkerBooks;
pub use sgl_policy_abi::{Column, Input, WorkerRole};
