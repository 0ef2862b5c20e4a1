//! The data plane over real HTTP on loopback, with scripted workers.

mod client;
mod router;
mod upstream;

mod circuit_breaker;
mod client_disconnects;
mod config_example;
mod health_checks;
mod limits;
mod metrics;
mod model_routing;
mod pairs;
mod pass_through;
mod plugins;
mod policies;
mod retries;
mod serve_command;
mod shutdown;
mod worker_admin;
