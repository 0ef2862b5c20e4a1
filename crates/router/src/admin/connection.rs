//! What a listener knows about the connection of a request.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::{Extensions, StatusCode};
use sgl_api::Problem;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// In the extensions of every request that came through a listener; missing if routes are called without
/// one.
#[derive(Clone, Debug)]
pub(crate) struct Connection {
    /// Who connected.
    pub peer: SocketAddr,
    /// How long a body may take to arrive.
    pub body_timeout: Duration,
    /// Uploads that may be in memory at a time, over all connections.
    pub uploads: Arc<Semaphore>,
}

/// The right to have a module in memory until this is dropped; empty if no listener counts.
#[derive(Debug)]
pub(crate) struct UploadPermit {
    _counted: Option<OwnedSemaphorePermit>,
}

/// Asks for room for one module.
///
/// # Errors
///
/// 503 with `retry-after` if the allowed number is on its way already.
pub(crate) fn room_for_upload(extensions: &Extensions) -> Result<UploadPermit, Problem> {
    let Some(connection) = extensions.get::<Connection>() else {
        return Ok(UploadPermit { _counted: None });
    };
    match Arc::clone(&connection.uploads).try_acquire_owned() {
        Ok(permit) => Ok(UploadPermit { _counted: Some(permit) }),
        Err(_) => {
            let detail = "as many modules as may be at a time are being loaded (admin.max_uploads); \
                          try again when one of them has ended";
            Err(Problem::coded(StatusCode::SERVICE_UNAVAILABLE, "too_many_uploads", detail))
        }
    }
}
