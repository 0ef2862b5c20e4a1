//! Small questions of the router's own to a worker.

use std::time::Duration;

use bytes::Bytes;
use http::HeaderValue;
use http::Request;
use http::StatusCode;
use http::Uri;
use http::header;
use http_body_util::Full;

use crate::core::Worker;
use crate::proxy::second_run::SecondRun;
use crate::proxy::target::Target;
use crate::proxy::upstream::Answer;
use crate::proxy::upstream::Outgoing;

/// The most that is read of an answer.
const MAX_ANSWER_BYTES: usize = 1 << 20;

/// Asks a worker for something small; `None` if there is no answer within the limit.
///
/// # Cancel safety
///
/// Dropping the future closes the connection.
pub async fn get(target: &Target, path: &str, limit: Duration) -> Option<(StatusCode, Vec<u8>)> {
    let uri: Uri = path.parse().ok()?;
    let asked = async {
        let answer = target.call(|| request(target, &uri), &SecondRun::default(), || false).await;
        let answer: Answer =
            answer.inspect_err(|error| tracing::debug!(worker = target.worker().url(), %error, path)).ok()?;
        let (head, mut body) = answer.into_parts();
        let whole = body.collect(MAX_ANSWER_BYTES).await?;
        if let Some(connection) = body.reclaim() {
            target.pool().put(connection);
        }
        Some((head.status, whole))
    };
    tokio::time::timeout(limit, asked).await.ok().flatten()
}

/// True if the status says that the worker has no such endpoint.
pub fn is_absent(status: StatusCode) -> bool {
    matches!(status, StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED | StatusCode::NOT_IMPLEMENTED)
}

/// Up to a tenth less, so that questions to many workers do not come in bursts.
pub fn jittered(interval: Duration) -> Duration {
    interval.mul_f64(1.0 - fastrand::f64() / 10.0)
}

fn request(target: &Target, uri: &Uri) -> Outgoing {
    let mut request = Request::new(Full::new(Bytes::new()));
    *request.uri_mut() = uri.clone();
    request.headers_mut().insert(header::HOST, target.host().clone());
    request.headers_mut().insert(header::ACCEPT, HeaderValue::from_static("*/*"));
    request
}
