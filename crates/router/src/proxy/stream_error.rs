//! Why an answer breaks off.

use crate::proxy::client_deadlines::OutOfTime;

/// An answer that breaks off. hyper closes the client's connection, which is how HTTP/1.1 says so.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StreamError {
    /// The worker broke off.
    #[error("the worker's answer broke off")]
    Upstream(#[from] hyper::Error),
    /// The request is out of time.
    #[error("the request is out of time")]
    OutOfTime,
    /// The connection ended before a body that ends with it.
    #[error("the worker closed the connection before the end of its answer")]
    CutOff,
    /// The worker has been silent for too long.
    #[error("the worker has been silent for too long")]
    Silent,
}

impl From<OutOfTime> for StreamError {
    fn from(_: OutOfTime) -> Self {
        Self::OutOfTime
    }
}
