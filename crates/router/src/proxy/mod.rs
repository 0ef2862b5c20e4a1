//! The HTTP data plane: from a client's request to a worker's streamed answer.
//!
//! ```text
//!  client ──► server ──► service ──► answering ─► policy ──► attempt ──► worker
//!               │           │           │ retry: full, no connection …    │
//!             clients     route      snapshot (table, targets, masks)     │
//!   (deadlines, shutdown)                                                 ▼
//!  client ◄──────────────────────────────────────── out body ◄── upstream connection
//! ```
//!
//! One task serves one client connection and does everything for it: it also drives the
//! connection to the worker, so a chunk of an answer wakes one task and costs one read and one
//! write. A client that hangs up ends that task's request, which closes the worker's connection.
//!
//! Names HTTP; knows policies only by [`sglang_router_rs::policies::PolicyHandle`].

mod route;
pub(crate) mod queue;
mod json_end;
mod last_event;
mod token_usage;
pub(crate) mod worker_door;
mod placed_at;
pub(crate) mod access_log;
mod token_tally;
mod usage;
mod stream_tokens;
mod verdict;
mod client_deadlines;
mod circuit;
mod fullness;
mod retry;
mod shared_connections;
mod idle_connections;
mod report_log;
mod feed_log;
mod endpoint;
mod entrance;
mod rank;
pub(crate) mod target;
pub(crate) mod own_questions;
pub(crate) mod fanned_call;
mod shape;
mod models;
mod base_models;
mod model_index;
mod snapshot;
pub(crate) mod bounded_answers;
mod roster_entry;
mod roster_batch;
mod roster_entries;
mod snapshot_board;
mod roster;
pub(crate) mod succession;
mod learning;
pub(crate) mod engines;
mod kv_events;
mod health;
mod response_homes;
mod fleet_upkeep;
pub(crate) mod sent_prefixes;
pub(crate) mod worker_change_error;
pub(crate) mod worker_origin;
mod keepers;
pub(crate) mod backends;
mod shortage;
mod model_times;
mod measures;
mod placement;
mod pressure;
pub(crate) mod client_keys;
mod held_by_answer;
pub(crate) mod source_reports;
pub(crate) mod traces;
mod data_plane;
mod clients;
mod room;
mod client_io;
pub(crate) mod sessions;
mod path_hint;
mod short_answer;
mod error_body;
mod proxy_error;
mod cors;
mod request_id;
mod body;
mod headers;
mod head;
mod event_error;
mod event_stream;
mod patience;
mod open_end;
mod opening;
mod json;
mod response_reader;
mod listening;
mod answer_meter;
mod body_values;
mod parameters;
mod prompt;
mod limit_fields;
mod seed_fields;
pub(crate) mod facts;
mod wanted;
mod dialogue;
mod multipart;
mod parse;
mod prefill_guard;
mod stream_error;
mod passed;
mod watched_request;
mod out_body;
mod inbound;
mod outcome;
mod attempt;
mod tried;
mod asked_workers;
mod others;
mod worker_wait;
mod hold_course;
mod course_waits;
mod request_course;
mod request_view;
mod admission;
mod culprit;
mod bootstrap;
mod kv_transfer;
mod form;
mod asking;
mod single;
mod staged_pair;
mod pair;
mod answering;
#[cfg(feature = "envoy")]
pub(crate) mod carried;
mod around_request;
mod service;
mod preface;
mod protocols;
mod http2_server;
mod server;

pub use crate::proxy::backends::Backends;
pub use crate::proxy::body_values::WantedFields;
pub use crate::proxy::circuit::CircuitPass;
pub use crate::proxy::data_plane::DataPlane;
pub use crate::proxy::feed_log::{BatchEnd, EventKind, FeedLog};
pub use crate::proxy::opening::Opening;
pub use crate::proxy::parse::facts;
pub use crate::proxy::route::Route;
pub use crate::proxy::server::DataServer;
pub use crate::proxy::shape::Shape;
pub use crate::proxy::shortage::Shortage;
pub use crate::proxy::target::Target;
pub use crate::proxy::token_usage::TokenUsage;
pub use crate::proxy::usage::{BodyForm, UsageTail};
pub use crate::proxy::verdict::Verdict;
pub use crate::proxy::wanted::Wanted;
pub use crate::proxy::worker_change_error::{AddError, UndrainError};
