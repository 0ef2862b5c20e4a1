//! A router in front of a fleet, in virtual time.
//!
//! ```text
//!  arrivals ──┐                      ┌─► policy ─► placed at an engine
//!  engines ───┼─► the next moment ───┼─► books, averages, index, outcomes for the policy
//!  reports ───┤                      └─► what plugins are told of the workers' load
//!  timers ────┘
//! ```
//!
//! What happens at a moment happens in the order of the list above. Everything of a run is on one thread.

mod setup;
mod run_progress;
mod load_search;
mod policy_source;
mod agenda;
mod held;
mod flights;
mod tried_before;
mod cache_news;
mod request_headers;
mod front;
mod front_outcomes;
mod worker_condition;
mod upsets;
mod reporting;
mod run;
mod attempts;
mod befalling;
mod sweep;

pub use crate::fleet::policy_source::{FreshPolicy, PolicyFault, PolicyModule, PolicyShelf, PolicySource};
pub use crate::fleet::run::{RunInputs, run};
pub use crate::fleet::run_progress::{ProgressCounts, RunProgress};
pub use crate::fleet::setup::{FleetSetup, SetupError};
pub use crate::fleet::sweep::Sweep;
