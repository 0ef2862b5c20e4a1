//! The endpoints of workers as other routers have them, beside `/workers`.

use axum::extract::State;
use axum::routing::{get, post};
use axum::{Extension, Json, Router};
use http::StatusCode;
use serde::Deserialize;

use crate::admin::extract::InQuery;
use crate::admin::who::Changed;
use crate::admin::worker_views;
use crate::admin::workers::{Workers, add_entry, remove};
use crate::config::secret::Secret;
use crate::config::worker_entry::WorkerEntry;
use sgl_api::{Problem, WorkerLoad, WorkerLoads, WorkerUrls};

/// The endpoints.
pub(crate) fn routes(workers: Workers) -> Router {
    Router::new()
        .route("/add_worker", post(add_worker))
        .route("/remove_worker", post(remove_worker))
        .route("/list_workers", get(list_workers))
        .route("/get_loads", get(loads))
        .route("/loads", get(loads_of_smg))
        .route("/v1/loads", get(loads_as_engines))
        .with_state(workers)
}

/// The worker that is added.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct AddedWorker {
    url: String,
    /// What it asks for.
    api_key: Option<Secret>,
}

/// The worker that is removed.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Removed {
    url: String,
}

/// Adds a worker, as older routers of SGLang and vLLM's do
#[utoipa::path(post, path = "/add_worker", tag = "workers",
    params(("url" = String, Query, description = "URL of the worker"),
        ("api_key" = Option<String>, Query, description = "The key that it asks for")), responses(
    (status = 200, description = "Added", body = String),
    (status = 400, description = "Not a worker", body = Problem, content_type = "application/problem+json"),
    (status = 409, description = "There already", body = Problem, content_type = "application/problem+json"),
))]
pub(crate) async fn add_worker(
    State(workers): State<Workers>,
    InQuery(AddedWorker { url, api_key }): InQuery<AddedWorker>,
) -> Result<(Extension<Changed>, String), Problem> {
    let entry = WorkerEntry { url, api_key, ..WorkerEntry::default() };
    let (changed, target, not_kept) = add_entry(&workers, &entry).await?;
    let warning = not_kept.map_or_else(String::new, |warning| format!("; warning: {warning}"));
    Ok((Extension(changed), format!("Successfully added worker: {}{warning}", target.endpoint().url())))
}

/// Drains a worker, then removes it, as older routers of SGLang and vLLM's do
#[utoipa::path(post, path = "/remove_worker", tag = "workers",
    params(("url" = String, Query, description = "URL of the worker, or its id")), responses(
    (status = 200, description = "Draining, removed then", body = String),
    (status = 404, description = "No such worker", body = Problem, content_type = "application/problem+json"),
))]
pub(crate) async fn remove_worker(
    State(workers): State<Workers>,
    InQuery(Removed { url }): InQuery<Removed>,
) -> Result<(StatusCode, String), Problem> {
    let (_, Json(removal)) = remove(&workers, &url).await?;
    let warnings: String = removal.warnings.iter().map(|warning| format!("; warning: {warning}")).collect();
    Ok((StatusCode::OK, format!("Successfully removed worker: {}{warnings}", removal.url)))
}

/// The URLs of the workers
#[utoipa::path(get, path = "/list_workers", tag = "workers", responses((status = 200, body = WorkerUrls)))]
pub(crate) async fn list_workers(State(workers): State<Workers>) -> Json<WorkerUrls> {
    let views = worker_views::views(workers.backends());
    Json(WorkerUrls { urls: views.into_iter().map(|view| view.url).collect() })
}

/// How loaded the workers are: requests in flight from this router
#[utoipa::path(get, path = "/get_loads", tag = "workers", responses((status = 200, body = WorkerLoads)))]
pub(crate) async fn loads(State(workers): State<Workers>) -> Json<WorkerLoads> {
    let views = worker_views::views(workers.backends()).into_iter();
    let load = views.map(|view| WorkerLoad {
        worker: view.url,
        worker_type: view.role,
        load: view.load,
        report: view.report,
    });
    Json(WorkerLoads { workers: load.collect() })
}

/// The same under the path that smg has
#[utoipa::path(get, path = "/loads", tag = "workers", responses((status = 200, body = WorkerLoads)))]
pub(crate) async fn loads_of_smg(workers: State<Workers>) -> Json<WorkerLoads> {
    loads(workers).await
}

/// The same under the path that SGLang's engines have
#[utoipa::path(get, path = "/v1/loads", tag = "workers", responses((status = 200, body = WorkerLoads)))]
pub(crate) async fn loads_as_engines(workers: State<Workers>) -> Json<WorkerLoads> {
    loads(workers).await
}
