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

pub mod verdict;
pub mod client_deadlines;
pub mod circuit;
pub mod fullness;
pub mod retry;
pub mod idle_connections;
pub mod endpoint;
pub mod target;
pub mod own_questions;
pub mod load_report;
pub mod load_poll;
pub mod route;
pub mod shape;
pub mod models;
pub mod model_index;
pub mod snapshot;
pub mod roster;
pub mod succession;
pub mod learning;
pub mod health;
pub mod backends;
pub mod shortage;
pub mod measures;
pub mod placement;
pub mod pressure;
pub mod data_plane;
pub mod clients;
mod room;
mod client_io;
pub mod proxy_error;
pub mod body;
pub mod headers;
pub mod head;
pub mod event_error;
pub mod event_stream;
pub mod patience;
pub mod open_end;
pub mod opening;
mod json;
mod prompt;
pub mod parse;
pub mod prefill_guard;
pub mod out_body;
pub mod inbound;
pub mod outcome;
pub mod attempt;
mod tried;
mod culprit;
mod bootstrap;
mod form;
mod single;
mod pair;
pub mod answering;
pub mod service;
pub mod server;

pub use crate::proxy::backends::Backends;
pub use crate::proxy::data_plane::DataPlane;
pub use crate::proxy::server::DataServer;
