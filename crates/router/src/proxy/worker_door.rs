//! The endpoints of workers, where the clients' listener serves them too.

use std::fmt;
use std::pin::Pin;

use bytes::Bytes;
use http::{HeaderValue, Request, Response};
use hyper::body::Incoming;

/// Paths of these endpoints.
const PATHS: [&str; 7] =
    ["/workers", "/add_worker", "/remove_worker", "/list_workers", "/get_loads", "/loads", "/v1/loads"];

/// An answer that is on its way.
pub(crate) type DoorAnswer = Pin<Box<dyn Future<Output = Response<Bytes>> + Send>>;

/// What answers a request of a client with this address.
type DoorAnswerer = dyn Fn(Request<Incoming>, &HeaderValue) -> DoorAnswer + Send + Sync;

/// Answers requests for them; the data plane does not know how. It asks for the operators' token itself.
pub(crate) struct WorkerDoor(Box<DoorAnswerer>);

impl WorkerDoor {
    /// One that answers so; what is told beside a request is the client's address.
    pub(crate) fn new(
        answer: impl Fn(Request<Incoming>, &HeaderValue) -> DoorAnswer + Send + Sync + 'static,
    ) -> Self {
        Self(Box::new(answer))
    }

    /// True if a path is one of these endpoints.
    pub(crate) fn is_for(path: &str) -> bool {
        PATHS.contains(&path) || path.starts_with("/workers/")
    }

    /// The answer to a request for one of them.
    pub(crate) fn answer(&self, request: Request<Incoming>, client: &HeaderValue) -> DoorAnswer {
        (self.0)(request, client)
    }
}

impl fmt::Debug for WorkerDoor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WorkerDoor")
    }
}
