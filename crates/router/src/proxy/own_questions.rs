//! Small questions of the router's own to a worker.

use std::time::Duration;

use http::{HeaderValue, Request, StatusCode, Uri, header};
use tokio::time::Instant;

use crate::proxy::endpoint::Endpoint;
use crate::proxy::retry::SecondRun;
use sgl_upstream::{Outgoing, Payload, UpstreamAnswer, UpstreamConnection, UpstreamError};
use sglang_router_rs::types::in_full;

/// The most that is read of an answer: the metrics of vLLM are 53 KB for each data-parallel rank.
const MAX_ANSWER_BYTES: usize = 4 << 20;

/// Why there is no answer to a question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoAnswer {
    /// No connection, or one that broke before the head of an answer.
    Unreachable,
    /// Not all of it came within the limit.
    Timeout,
    /// It is too large, or broke off.
    Unusable,
}

/// Asks a worker for something small, over an idle connection if there is one.
///
/// # Errors
///
/// [`NoAnswer`] if it does not answer within the limit.
///
/// # Cancel safety
///
/// Dropping the future closes the connection.
pub(crate) async fn ask(
    endpoint: &Endpoint,
    path: &str,
    limit: Duration,
) -> Result<(StatusCode, Vec<u8>), NoAnswer> {
    let uri: Uri = path.parse().map_err(|_| NoAnswer::Unusable)?;
    let asked = async {
        let answer = endpoint.call(|| request(endpoint, &uri), &SecondRun::default(), || false).await;
        let answer: UpstreamAnswer = answer.map_err(|error| {
            tracing::debug!(worker = %endpoint.url(), %error, path);
            NoAnswer::Unreachable
        })?;
        let (head, mut body) = answer.into_parts();
        let whole = body.collect(MAX_ANSWER_BYTES).await.ok_or(NoAnswer::Unusable)?;
        if let Some(connection) = body.reclaim() {
            endpoint.pool().put(connection);
        }
        Ok((head.status, whole))
    };
    tokio::time::timeout(limit, asked).await.unwrap_or(Err(NoAnswer::Timeout))
}

/// What a check of a worker's health found.
#[derive(Debug)]
pub(crate) enum Finding {
    /// It is well.
    Passed,
    /// It is ill, or cannot be reached: why, for people.
    Failed(String),
    /// Nothing: it could not be asked, and cannot help it.
    Nothing(UpstreamError),
}

/// Asks a worker whether it is well, over a connection of its own: one that has closed its port may
/// go on answering over connections that it has.
///
/// # Cancel safety
///
/// Dropping the future closes the connection.
pub(crate) async fn check(endpoint: &Endpoint, path: &str, limit: Duration) -> Finding {
    let Ok(uri) = path.parse() else { return Finding::Failed(format!("{path} is no path")) };
    let deadline = Instant::now() + limit;
    let connect_limit = limit.min(endpoint.pool().settings().connect_timeout);
    let connection = match UpstreamConnection::open(endpoint.address(), connect_limit).await {
        Ok(connection) => connection,
        Err(error) if error.is_own() => return Finding::Nothing(error),
        Err(error) => return Finding::Failed(in_full(&error)),
    };
    let asked = async {
        let answer = connection.send(|| request(endpoint, &uri)).await;
        let (head, mut body) = answer.map_err(|error| in_full(&error))?.into_parts();
        let whole = body.collect(MAX_ANSWER_BYTES).await;
        if !head.status.is_success() {
            return Err(format!("{path}: it answered {}", head.status));
        }
        whole.map(drop).ok_or_else(|| format!("{path}: its answer broke off, or is too large"))
    };
    match tokio::time::timeout_at(deadline, asked).await {
        Ok(Ok(())) => Finding::Passed,
        Ok(Err(fault)) => Finding::Failed(fault),
        Err(_) => Finding::Failed(format!("{path}: no whole answer within {limit:?}")),
    }
}

/// True if the status says that the worker has no such endpoint.
pub(crate) fn is_absent(status: StatusCode) -> bool {
    matches!(status, StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED | StatusCode::NOT_IMPLEMENTED)
}

/// Up to a tenth less, so that questions to many workers do not come in bursts.
pub(crate) fn jittered(interval: Duration) -> Duration {
    interval.mul_f64(1.0 - fastrand::f64() / 10.0)
}

fn request(endpoint: &Endpoint, uri: &Uri) -> Outgoing {
    let mut request = Request::new(Payload::default());
    *request.uri_mut() = uri.clone();
    request.headers_mut().insert(header::HOST, endpoint.host().clone());
    request.headers_mut().insert(header::ACCEPT, HeaderValue::from_static("*/*"));
    endpoint.show_key(request.headers_mut());
    request
}
