//! A connection to an inference server, for whoever sends requests to one: the router and the load
//! generator.

mod worker_url;
mod descriptors;
mod upstream_error;
mod address;
mod payload;
mod worker_stream;
mod upstream_connection;

pub use crate::address::Address;
pub use crate::descriptors::{connections_that_fit, raise_descriptor_limit};
pub use crate::payload::Payload;
pub use crate::upstream_connection::{AnswerBody, Outgoing, UpstreamAnswer, UpstreamConnection};
pub use crate::upstream_error::UpstreamError;
pub use crate::worker_url::{WorkerUrl, WorkerUrlError, without_user};
