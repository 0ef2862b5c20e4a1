//! The plugins' endpoints.

pub mod refusal;
mod settings_schema;
pub mod upload;
pub mod push;
mod load_log;
pub mod routes;

pub use crate::admin::plugins::routes::routes;
