//! The plugins' endpoints.

pub(crate) mod refusal;
mod settings_schema;
mod upload;
mod push;
mod load_log;
mod unreported;
pub(crate) mod blindness;
pub(crate) mod fleet_guard;
pub(crate) mod routes;

pub use crate::admin::plugins::routes::routes;
