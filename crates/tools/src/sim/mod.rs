//! A simulated inference server.
//!
//! Speaks the HTTP of an OpenAI-compatible SGLang worker, or that of one [`Dialect`] whole, and takes the
//! time that one would take, but computes nothing: answers are seeded words. Demos, tests and load runs use it in place of
//! a GPU. It knows nothing of routing; `cli/sim_worker.rs` and the tests call it.
//!
//! ```text
//!           flight        place            prefill lane        decode steps
//! request ─► counted ─► batch or queue ─► uncached tokens ─► token, token, … ─► answer
//!              │            │ full: 503      │ cache hit: skipped    │
//!              └────────────┴────────────────┴───────────────────────┘
//!                 dropped anywhere here: place freed at once, counted as cancelled
//! ```
//!
//! A token is four bytes of text; one that a client sends by its number is one token. Of prompts, the cache
//! holds blocks of tokens; what was generated it does not hold. With ranks there is one of all this for
//! each.
//!
//! Answers repeat: the same configuration, seed and order of requests give the same bytes.
//! `created` is therefore no clock reading, but a fixed instant plus the request's number in
//! seconds.

mod control;
mod counters;
mod batch;
mod dialect;
mod error;
mod json;
mod seed;
mod throughput;
mod prompt_reader;
mod kv_wire;
mod kv_feed;
mod cache;
mod config;
mod fields;
mod transfer_params;
mod generation;
mod kv_transfer;
mod time_model;
mod openai;
mod embeddings;
mod conversation;
mod small_calls;
mod wording;
mod chunks;
mod run;
mod accelerator;
mod kv_sockets;
mod ranks;
mod exposition;
mod samples;
mod sglang;
mod stream;
mod late_stream;
mod reply;
mod kept_responses;
mod dialects;
mod load_feed;
mod routes;
mod sim_tls;
mod server;

pub use config::{SimConfig, SimError};
pub use dialect::Dialect;
pub use server::SimWorker;
