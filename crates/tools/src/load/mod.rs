//! A load generator for routers: what `sgl-router load` does.
//!
//! It sends chat requests, plain or streamed, to one target after the other, records what comes
//! back, and makes reports of it. It is a client: it knows nothing of routing, and of the router
//! only the form of an address and the connection type of the data plane. `cli/load.rs` and the
//! tests call it.
//!
//! ```text
//!            arrivals ─► pacer ─► open loop ─┐ request due at …
//! plan ─► round                              ├─► exchange ─► recorder ─► tally ─► summary ─► reports
//!            connections ─► closed loop ─────┘   (line)                    ▲
//!            swaps ────────────────────────────────────────────────────────┘ marks
//! ```
//!
//! In the open loop every time is counted from when a request was due, not from when it could be
//! sent, so that a stall of the target, or of this program, is in the figures of all requests that
//! it delayed.

pub mod trace;
pub mod arrivals;
pub mod bodies;
pub mod target;
mod events;
pub mod histogram;
pub mod record;
pub mod plan;
pub mod run_control;
mod client_connection;
mod round;
mod closed_loop;
mod pacer;
mod open_loop;
pub mod swaps;
pub mod run;
mod numbers;
pub mod run_info;
pub mod figures;
pub mod round_summary;
pub mod target_summary;
pub mod comparison;
pub mod summary;
mod run_verdict;
pub mod report_table;
mod svg;
mod course;
pub mod report_html;

pub use crate::load::arrivals::Pace;
pub use crate::load::bodies::RequestShape;
pub use crate::load::plan::{Plan, RunLimits, SwapPlan};
pub use crate::load::run::run;
pub use crate::load::run_control::RunControl;
pub use crate::load::run_info::RunInfo;
pub use crate::load::summary::Summary;
pub use crate::load::target::LoadTarget;
