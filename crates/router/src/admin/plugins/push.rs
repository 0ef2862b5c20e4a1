//! Loading over HTTP: one answer at the end, or a line for each step as it begins.

use std::convert::Infallible;
use std::future::Future;
use std::sync::Arc;
use std::time::Instant;

use axum::Json;
use axum::body::Body;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::stream;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use tokio::sync::mpsc;
use tokio::sync::mpsc::UnboundedReceiver;

use crate::admin::who::LoggedElsewhere;
use crate::manage::ManageError;
use sgl_api::{NDJSON, Problem, ProgressLine, Pushed};
use sglang_router_rs::policies::{Progress, unwatched};

/// True if the client wants a line for each step.
pub(crate) fn wants_stream(headers: &HeaderMap) -> bool {
    let accepts = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    accepts
        .flat_map(|value| value.split(','))
        .any(|one| one.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case(NDJSON))
}

/// Runs a load to its end and answers, as a stream if that is wanted. The load goes on if the client
/// hangs up: it must not stop half way.
///
/// # Cancel safety
///
/// Dropping the future loses the answer only.
pub(crate) async fn answer<F>(streamed: bool, load: impl FnOnce(Progress) -> F) -> Response
where
    F: Future<Output = Result<Pushed, ManageError>> + Send + 'static,
{
    let mut response = if streamed {
        stream(load)
    } else {
        match to_its_end(load(unwatched())).await {
            Ok(pushed) if pushed.created => (StatusCode::CREATED, Json(pushed)).into_response(),
            Ok(pushed) => Json(pushed).into_response(),
            Err(error) => Problem::from(error).into_response(),
        }
    };
    // A stream's status says nothing about the outcome, so the load itself writes the line.
    response.extensions_mut().insert(LoggedElsewhere);
    response
}

/// Does something on a task of its own: it goes on if the client hangs up.
///
/// # Errors
///
/// What it fails with, or [`ManageError::Stopping`] if the runtime ends first.
///
/// # Cancel safety
///
/// Dropping the future loses the result only.
pub(crate) async fn to_its_end<T: Send + 'static>(
    work: impl Future<Output = Result<T, ManageError>> + Send + 'static,
) -> Result<T, ManageError> {
    tokio::spawn(work).await.unwrap_or(Err(ManageError::Stopping))
}

fn stream<F>(load: impl FnOnce(Progress) -> F) -> Response
where
    F: Future<Output = Result<Pushed, ManageError>> + Send + 'static,
{
    let (send, lines) = mpsc::unbounded_channel();
    let began = Instant::now();
    let steps = send.clone();
    // Perhaps nobody listens any more; the load goes on.
    let progress: Progress = Arc::new(move |step| {
        let elapsed_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        let _ = steps.send(ProgressLine::Step { step, elapsed_ms });
    });
    let load = load(progress);
    tokio::spawn(async move {
        let last = match load.await {
            Ok(result) => ProgressLine::Result { result },
            Err(error) => ProgressLine::Problem { problem: error.into() },
        };
        let _ = send.send(last);
    });
    let mut response = Response::new(Body::from_stream(stream::unfold(lines, next_line)));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(NDJSON));
    response
}

type Lines = UnboundedReceiver<ProgressLine>;

async fn next_line(mut lines: Lines) -> Option<(Result<Bytes, Infallible>, Lines)> {
    let line = lines.recv().await?;
    // Strings, numbers and lists only: all of it can be JSON.
    let mut text = serde_json::to_vec(&line).unwrap_or_default();
    text.push(b'\n');
    Some((Ok(text.into()), lines))
}
