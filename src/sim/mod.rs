//! A simulated inference server.
//!
//! Speaks the HTTP of an OpenAI-compatible SGLang worker and takes the time that one would take,
//! but computes nothing: answers are seeded words. Demos, tests and load runs use it in place of
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
//! Answers repeat: the same configuration, seed and order of requests give the same bytes.
//! `created` is therefore no clock reading, but a fixed instant plus the request's number in
//! seconds.

mod answer;
mod batch;
mod cache;
mod chunks;
mod config;
mod control;
mod counters;
mod embeddings;
mod engine;
mod error;
mod fields;
mod generation;
mod json;
mod metrics;
mod model;
mod openai;
mod reply;
mod routes;
mod run;
mod seed;
mod server;
mod sglang;
mod stream;
mod throughput;
mod tokens;

pub use config::Role;
pub use config::SimConfig;
pub use config::SimError;
pub use server::SimWorker;
