//! A connection to an inference server, for whoever sends requests to one: the router and the load
//! generator.

pub mod worker_url;
pub mod descriptors;
pub mod upstream_error;
pub mod address;
pub mod payload;
pub mod upstream_connection;
