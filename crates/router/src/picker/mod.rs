//! The endpoint picker: Envoy carries the requests, and this router says which worker serves each.
//!
//! ```text
//!  client ──► Envoy ───────────────────────────────────► worker
//!               │  ▲ ext_proc, a gRPC stream a request
//!               ▼  │
//!  server ──► process stream ──► HTTP exchange ──► body mode (what a message asks for)
//!    │        (ends in order        │
//!  health      only when it may)    └──► carried placer (crate::proxy::carried): policy, records, circuits
//! ```
//!
//! The protocol is Envoy's external processing as the Gateway API Inference Extension uses it (proposal 004,
//! version 1.0.0): the pick is told in a header and in metadata, `ip:port[,ip:port…]`.
//!
//! No stream ends in order before Envoy has ended it: in the mode `FULL_DUPLEX_STREAMED`, Envoy sends a body
//! cut off to the worker then, with status 200 for the client.

mod guarded_answers;
mod body_mode;
mod names;
mod stream_counts;
mod request_head;
mod picks;
mod messages;
mod body_back;
mod owed_answers;
mod http_exchange;
mod process_stream;
mod grpc_routes;
mod envoy_config;
mod picker_health;
mod picker_server;

pub(crate) use crate::picker::envoy_config::EnvoyConfig;
pub(crate) use crate::picker::picker_server::PickerServer;
