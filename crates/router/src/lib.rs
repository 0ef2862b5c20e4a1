//! The router `sgl-router`: a data plane, its operations and its command line, around the decisions of
//! [`sglang_router_rs`].
//!
//! - [`cli`]: the commands of the binary.
//! - [`RunningRouter`]: a router within a program, set up by a [`config::CheckedConfig`].
//! - [`DataPlane`], served by a [`DataServer`]: the data plane alone, with any policy.

mod event_log;
pub mod config;
mod metrics;
mod records;
mod manage;
mod tls;
mod tokens;
mod proxy;
#[cfg(feature = "envoy")]
mod picker;
mod sources;
mod fleet;
mod trial;
mod admin;
pub mod cli;

pub use crate::cli::assembly::{Addresses, RunningRouter};
pub use crate::cli::start_error::StartError;
pub use crate::manage::{ManageError, PluginManager};
pub use crate::metrics::Metrics;
pub use crate::proxy::{
    AddError, Backends, BatchEnd, DataPlane, DataServer, EventKind, FeedLog, Target, UndrainError,
};
pub use crate::records::Recorder;

/// What tests and fuzzers of this repository look at inside. It promises nothing: any of it may change
/// or go with the next commit.
#[doc(hidden)]
pub mod internals {
    pub use crate::admin::decisions::routes as decision_routes;
    pub use crate::admin::guard::{Guard, check as check_guard};
    pub use crate::admin::openapi::routes as openapi_routes;
    pub use crate::admin::plugins::routes as plugin_routes;
    pub use crate::admin::workers::routes as worker_routes;
    pub use crate::cli::assembly::load_tokenizers;
    pub use crate::cli::configuration::configuration;
    pub use crate::manage::plugin_metrics::register as register_plugin_metrics;
    pub use crate::metrics::Metric;
    pub use crate::metrics::catalogue::TABLES as METRIC_TABLES;
    pub use crate::proxy::{
        BodyForm, CircuitPass, Opening, Route, Shape, Shortage, TokenUsage, UsageTail, Verdict, Wanted,
        WantedFields, facts,
    };
}
