//! The plugins' endpoints.

pub mod refusal;
pub mod view;
pub mod upload;
pub mod push;
pub mod routes;

pub use crate::admin::plugins::routes::routes;
