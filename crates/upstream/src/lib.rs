//! A connection to an inference server, for whoever sends requests to one: the router and the load
//! generator.

mod worker_url;
mod descriptors;
mod tls_fault;
mod upstream_error;
mod certificate_validity;
mod pem_files;
mod http_version;
mod worker_tls;
mod worker_stream;
mod address;
mod payload;
mod http2_connection;
mod upstream_connection;

pub use crate::address::Address;
pub use crate::certificate_validity::CertificateValidity;
pub use crate::descriptors::{connections_that_fit, raise_descriptor_limit};
pub use crate::http_version::HttpVersion;
pub use crate::http2_connection::Http2Connection;
pub use crate::payload::{Outgoing, Payload};
pub use crate::pem_files::{CertificatePair, MAX_PEM_BYTES, PemFault, crypto, read_authorities, read_pair};
pub use crate::upstream_connection::{AnswerBody, UpstreamAnswer, UpstreamConnection};
pub use crate::upstream_error::UpstreamError;
pub use crate::worker_tls::{WorkerTls, WorkerTlsSettings};
pub use crate::worker_url::{WorkerUrl, WorkerUrlError, without_user};
