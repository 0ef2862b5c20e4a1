//! The endpoints of workers, where the clients' listener serves them too.

use std::borrow::Cow;
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

    /// What may be written of a request's path and query: of these endpoints, no query and no URL with a user,
    /// since both may hold keys of workers.
    pub(crate) fn told(path_and_query: &str) -> Cow<'_, str> {
        let (path, query) = path_and_query.split_at(path_and_query.find('?').unwrap_or(path_and_query.len()));
        if !Self::is_for(path) {
            return path_and_query.into();
        }
        let has_user = path.contains('@') || path.to_ascii_lowercase().contains("%40");
        match (has_user, query.is_empty()) {
            (false, true) => path.into(),
            (false, false) => format!("{path}?***").into(),
            (true, _) => "/workers/***".into(),
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_workers_are_not_told() {
        for (path, told) in [
            ("/v1/completions?a=b@c", "/v1/completions?a=b@c"),
            ("/workers", "/workers"),
            ("/workers/http%3A%2F%2Fw", "/workers/http%3A%2F%2Fw"),
            ("/workers/http%3A%2F%2Fu:pw%40w", "/workers/***"),
            ("/workers/http://u:pw@w?force=true", "/workers/***"),
            ("/add_worker?url=http://u:pw@w&api_key=K", "/add_worker?***"),
            ("/add_worker?apikey=K", "/add_worker?***"),
        ] {
            assert_eq!(WorkerDoor::told(path), told);
        }
    }
}
