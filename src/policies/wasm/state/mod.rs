//! What is kept and counted of a plugin while its generations come and go.
//!
//! It owns what guests keep with the host (`kept`: counters, map, state of the row form, what
//! came of requests), the counts and times of decisions (`stats`, `latency`), and what the host has learnt about
//! a plugin from them: whether it keeps failing (`breaker`), and where its guest runs (`lane_choice`).
//! The policy that decides when it fails is here too (`fallback`). It refuses to know how a generation
//! is made, asked or replaced. All other rooms call it.

pub(crate) mod latency;
pub(crate) mod seen;
pub(crate) mod stats;
pub(crate) mod outcomes;
mod plugin_log;
pub(crate) mod shared_map;
pub(crate) mod row_state;
pub(crate) mod kept;
pub(crate) mod plugin_state;
pub(crate) mod breaker;
pub(crate) mod fallback;
pub(crate) mod lane_choice;
