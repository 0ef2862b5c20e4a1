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
//! [`Prober`] sends single requests, for whoever looks at the times of each.
//!
//! In the open loop every time is counted from when a request was due, not from when it could be
//! sent, so that a stall of the target, or of this program, is in the figures of all requests that
//! it delayed.

mod trace_entry;
mod record_line;
mod trace;
mod arrivals;
mod bodies;
mod target;
mod events;
mod histogram;
mod record;
mod plan;
mod run_control;
mod client_connection;
mod round;
mod closed_loop;
mod pacer;
mod open_loop;
mod swaps;
mod run;
mod probe;
mod numbers;
mod run_info;
mod figures;
mod round_summary;
mod target_summary;
mod comparison;
mod summary;
mod run_verdict;
mod report_table;
mod course;
mod report_html;

pub use crate::load::arrivals::Pace;
pub use crate::load::bodies::{FIRST_TOKEN_ID, RequestShape, TRACE_BLOCK_TOKENS};
pub use crate::load::histogram::{Quantiles, Times};
pub use crate::load::plan::{Plan, RunLimits, SwapPlan};
pub use crate::load::probe::{ProbeAnswer, ProbeError, ProbeQuestion, Prober};
pub use crate::load::record::ErrorKind;
pub use crate::load::record_line::{CutPrefixes, TraceGaps};
pub use crate::load::report_html::html_page;
pub use crate::load::report_table::text_table;
pub use crate::load::run::{RoundOutcome, RunError, RunOutcome, run};
pub use crate::load::run_control::{Counts, RunControl};
pub use crate::load::run_info::RunInfo;
pub use crate::load::summary::Summary;
pub use crate::load::swaps::{Swapper, Swapping};
pub use crate::load::target::LoadTarget;
pub use crate::load::target_summary::TargetSummary;
pub use crate::load::trace::{Trace, TraceError};
pub use crate::load::trace_entry::Entry;
