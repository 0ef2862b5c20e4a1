//! The data plane over real HTTP on loopback, with scripted workers.

mod bodies;
mod circuit_breaker;
mod client_disconnects;
mod config_example;
mod error_events;
mod framing;
mod full_workers;
mod connections;
mod health_checks;
mod limits;
mod metrics;
mod mixed_fleets;
mod model_routing;
mod pair_failures;
mod pairs;
mod pass_through;
mod plugin_settings;
mod plugins;
mod policies;
mod reload;
mod retries;
mod second_runs;
mod serve_command;
mod shutdown;
mod silence;
mod worker_admin;
