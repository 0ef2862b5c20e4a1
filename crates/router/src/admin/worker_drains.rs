//! Draining workers, and ending that.

use axum::extract::State;
use axum::routing::post;
use axum::{Json, Router};
use http::StatusCode;
use serde::Deserialize;

use crate::admin::extract::InQuery;
use crate::admin::worker_id::url_of;
use crate::admin::workers::{Workers, unknown, view};
use crate::proxy::Backends;
use sgl_api::{Problem, WorkerView, problem_code};

/// The endpoints.
pub(crate) fn routes(workers: Workers) -> Router {
    Router::new()
        .route("/workers/drain", post(drain))
        .route("/workers/undrain", post(undrain))
        .with_state(workers)
}

/// The worker that is drained.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct DrainedWorker {
    /// Its URL.
    url: String,
    /// Though nobody is left to serve requests then.
    #[serde(default)]
    force: bool,
}

/// The worker that is drained no more.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct UndrainedWorker {
    /// Its URL.
    url: String,
}

/// Ends new requests to a worker
///
/// Until that is ended, or the router is started anew. The last worker that is well is drained only by `force`.
#[utoipa::path(post, path = "/workers/drain", tag = "workers",
    params(("url" = String, Query, description = "URL of the worker"),
        ("force" = Option<bool>, Query, description = "Drain it though nobody is left to serve requests then; default false")),
    responses(
    (status = 202, description = "Draining", body = WorkerView),
    (status = 404, description = "No such worker", body = Problem, content_type = "application/problem+json"),
    (status = 409, description = "Nobody would be left to serve requests", body = Problem,
        content_type = "application/problem+json"),
))]
pub(crate) async fn drain(
    State(workers): State<Workers>,
    InQuery(DrainedWorker { url, force }): InQuery<DrainedWorker>,
) -> Result<(StatusCode, Json<WorkerView>), Problem> {
    let backends = workers.backends();
    let normal = url_of(backends, &url);
    // Two operators who drain the last two workers at the same moment may both be let: each said which one.
    if !force && is_last(backends, &normal) {
        let detail = format!(
            "{normal} is the last worker that is well: with it drained every request is answered with 503; add or \
             undrain another one first, or force it"
        );
        return Err(Problem::coded(StatusCode::CONFLICT, problem_code::LAST_WORKER, detail));
    }
    let target = backends.drain(&normal).ok_or_else(|| unknown(backends, &url))?;
    tracing::info!(worker = %target.endpoint().url(), force, "draining");
    Ok((StatusCode::ACCEPTED, Json(view(backends, &target))))
}

/// True if requests can be served now, and could not be without this worker.
fn is_last(backends: &Backends, url: &str) -> bool {
    let snapshot = backends.snapshot();
    snapshot.is_ready() && !snapshot.is_ready_without(&backends.targets(url))
}

/// Lets a draining worker be chosen again
#[utoipa::path(post, path = "/workers/undrain", tag = "workers", params(("url" = String, Query, description = "URL of the worker")), responses(
    (status = 200, description = "Not draining", body = WorkerView),
    (status = 404, description = "No such worker", body = Problem, content_type = "application/problem+json"),
    (status = 409, description = "It is being removed", body = Problem, content_type = "application/problem+json"),
))]
pub(crate) async fn undrain(
    State(workers): State<Workers>,
    InQuery(UndrainedWorker { url }): InQuery<UndrainedWorker>,
) -> Result<Json<WorkerView>, Problem> {
    let backends = workers.backends();
    let target = backends.undrain(&url_of(backends, &url)).ok_or_else(|| unknown(backends, &url))?;
    let target = target.map_err(|error| Problem::new(StatusCode::CONFLICT, error.to_string()))?;
    tracing::info!(worker = %target.endpoint().url(), "not draining any more");
    Ok(Json(view(backends, &target)))
}
