//! Decisions that a router recorded, made again by other policies.
//!
//! ```text
//!  lines ─► records, in order ─► a decision: workers and request as they were
//!                                   │
//!              what was recorded, or a policy ─┐
//!                      each other policy ──────┴─► alike? why not? ─► report
//! ```
//!
//! Each decision is made in the state that the recorded policy had led to: what a different choice would
//! have changed for those that came after is not known. Policies are asked by the code of a router that
//! serves, over workers that show recorded numbers; a record is read, decided and forgotten.

mod records_in_order;
mod recorded_worker;
mod recorded_fleet;
mod replayed_request;
mod replay_choice;
mod contender;
mod worker_signal;
mod missing_inputs;
mod difference;
mod placement_figures;
mod replay_report;
mod replay_run;

pub use crate::replay::contender::Contender;
pub use crate::replay::difference::{ChoiceShown, DifferentDecision, SignalShown};
pub use crate::replay::missing_inputs::{MissingInput, WhyMissing};
pub use crate::replay::placement_figures::{ChoiceCounts, PlacementSummary};
pub use crate::replay::replay_report::{
    ModuleReport, ReasonCount, RecordsReport, ReferenceReport, ReplayReport,
};
pub use crate::replay::replay_run::{ReplayPlan, replay};
