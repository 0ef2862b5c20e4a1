//! What the operations API of `sgl-router` takes and answers, as types that are JSON.
//!
//! | endpoint | answer |
//! |---|---|
//! | `GET /workers`, `GET /workers/{id}` | [`WorkerList`] of [`WorkerView`]s, [`WorkerView`] |
//! | `DELETE /workers/{id}` | [`WorkerRemoval`] |
//! | `GET /list_workers`, `GET /get_loads`, `GET /loads` | [`WorkerUrls`], [`WorkerLoads`] |
//! | `GET /v1/sources` | [`SourceList`] of [`SourceView`]s |
//! | `GET /v1/plugins`, `GET /v1/plugins/{name}` | [`PluginList`] of [`PluginSummary`]s, [`PluginView`] |
//! | `PUT /v1/plugins/{name}`, `PATCH …/config` | [`Pushed`], or a stream of [`ProgressLine`]s |
//! | `GET /v1/decisions`, `GET /v1/decisions/{request_id}` | [`DecisionList`], [`RequestRecord`] |
//! | `GET /v1/queue` | [`QueueView`] |
//! | `GET /v1/status`, `GET /v1/events` | [`RouterStatus`], [`EventList`] of [`EventView`]s |
//! | `GET /v1/policy`, `PUT /v1/policy`, `GET /v1/policies` | [`PolicyView`], [`PolicyList`] |
//! | `POST /v1/config/reload` | [`ReloadReport`] |
//! | `GET /v1/fleet` | [`FleetAnswer`] with a [`FleetView`] |
//! | `GET /v1/audit` | [`AuditList`] of [`AuditEntry`]s |
//! | any, if it fails | [`Problem`] |
//!
//! # Features
//!
//! `server`: what the router itself needs, a [`Problem`] as an answer of axum and descriptions
//! (OpenAPI) of all types. A client needs neither.

pub mod problem_code;
mod problem;
#[cfg(feature = "server")]
mod told_problem;
mod sglang_worker;
mod worker_view;
mod worker_list_views;
mod plugin_view;
mod pushed;
mod policy_view;
mod progress_line;
mod local_header;
mod signature_header;
mod request_record;
mod record_lines;
mod queue_view;
mod finished_session;
mod reload_report;
mod router_status;
mod source_view;
mod audit_entry;
mod fleet_view;

pub use crate::audit_entry::{AuditEntry, AuditList, AuditedChange};
pub use crate::finished_session::FinishedSession;
pub use crate::fleet_view::{
    FleetAnswer, FleetPluginView, FleetRouterPluginView, FleetRouterView, FleetView,
};
pub use crate::local_header::LOCAL_HEADER;
pub use crate::plugin_view::{PluginList, PluginSummary, PluginView, UnreportedInput, failures};
pub use crate::policy_view::{
    PolicyChoice, PolicyKind, PolicyList, PolicySummary, PolicyTrialView, PolicyView, TrialCounts,
};
pub use crate::problem::{PROBLEM_JSON, Problem, ProblemFault};
pub use crate::progress_line::{NDJSON, ProgressLine};
pub use crate::pushed::{AfterRestart, Pushed};
pub use crate::queue_view::{QueueView, WaitingView, WaitsFor};
pub use crate::record_lines::RecordLines;
pub use crate::reload_report::{
    ChangedValue, ReloadChange, ReloadRefusal, ReloadReport, Reloadable, ReloadedAs,
};
pub use crate::request_record::{
    CandidateFacts, CandidateRecord, DecidedBy, DecisionList, DecisionRecord, End, OutcomeRecord,
    RecordedInputs, RequestFactsRecord, RequestRecord, WaitRecord,
};
pub use crate::router_status::{
    EventList, EventView, LatencyView, RequestCounts, RouterStatus, WorkerCounts,
};
pub use crate::sglang_worker::{RoleCounts, SglangWorker};
pub use crate::signature_header::SIGNATURE_HEADER;
pub use crate::source_view::{SourceList, SourceMemberView, SourceView};
#[cfg(feature = "server")]
pub use crate::told_problem::ToldProblem;
pub use crate::worker_list_views::{WorkerLoad, WorkerLoads, WorkerRemoval, WorkerUrls};
pub use crate::worker_view::{CircuitState, EngineView, RankView, WorkerList, WorkerView};
