//! Adding, draining and removing workers while the router runs.
//!
//! - **Adding** starts a health check at once; the worker is chosen from the first that passes.
//! - **Draining** ends new requests to a worker; those in flight, streams included, go on.
//! - **Removing** drains first. The worker leaves the list when its last request has ended, or when
//!   `server.shutdown_timeout_secs` have passed. Even then its requests are not cut: they end by themselves.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::routing::get;
use axum::{Extension, Json, Router};
use http::{HeaderName, StatusCode, header};
use serde::Deserialize;
use serde_json::Value;

use crate::admin::body::{BodyKind, MAX_JSON_BYTES, bytes_of};
use crate::admin::extract::{InPath, InQuery};
use crate::admin::kept_workers::{KeptWorkers, Turn};
use crate::admin::near_workers::meant;
use crate::admin::who::Changed;
use crate::admin::worker_body::WorkerBody;
use crate::admin::worker_change;
use crate::admin::worker_id::{id_of, normal, url_of};
use crate::admin::worker_views;
use crate::admin::worker_wait::{WaitLimit, healthy_or_over};
use crate::config::check_workers::check_worker;
use crate::config::near_names::nearest_first;
use crate::config::worker_entry::WorkerEntry;
use crate::config::worker_source::WorkerSource;
use crate::proxy::AddError;
use crate::proxy::Backends;
use crate::proxy::target::Target;
use sgl_api::{Problem, WorkerList, WorkerRemoval, WorkerView, problem_code};
use sgl_upstream::{WorkerUrl, without_user};
use sglang_router_rs::config::Faults;
use sglang_router_rs::types::shown;

/// The endpoints of workers. What they add is kept in `kept`, if there is a state directory.
pub fn routes(backends: Arc<Backends>, kept: Option<Arc<KeptWorkers>>) -> Router {
    Router::new()
        .route("/workers", get(list).post(add).delete(remove_by_query))
        .route("/workers/{*url}", get(show).patch(change).put(change_as_elsewhere).delete(remove_by_path))
        .with_state(Workers { backends, kept })
}

/// What the endpoints change.
#[derive(Clone, Debug)]
pub(crate) struct Workers {
    backends: Arc<Backends>,
    kept: Option<Arc<KeptWorkers>>,
}

impl Workers {
    /// Those of the data plane, and where those are kept that are added.
    pub(crate) fn new(backends: Arc<Backends>, kept: Option<Arc<KeptWorkers>>) -> Self {
        Self { backends, kept }
    }

    /// Those of the data plane.
    pub(crate) fn backends(&self) -> &Arc<Backends> {
        &self.backends
    }
}

/// The worker as it is now, of which this is one candidate.
pub(crate) fn view(backends: &Backends, target: &Arc<Target>) -> WorkerView {
    let targets = backends.targets(&target.endpoint().url().to_string());
    // It may just have been removed.
    let all = if targets.is_empty() { std::slice::from_ref(target) } else { targets.as_slice() };
    worker_views::view(backends, all.first().unwrap_or(target), all)
}

/// The log's text about a worker that was added. Its URL is in its normal form, which has no user.
fn added(target: &Target) -> Changed {
    let (url, spec) = (target.endpoint().url(), target.worker().spec());
    let model = spec.model.as_ref().map_or_else(String::new, |model| format!(", model {model}"));
    Changed(shown(&format!("worker {url}, role {}{model}", spec.role)))
}

/// The URL of the worker that is meant.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ByUrl {
    url: String,
}

/// Lists the workers
#[utoipa::path(get, path = "/workers", tag = "workers", responses((status = 200, body = WorkerList)))]
pub(crate) async fn list(State(Workers { backends, .. }): State<Workers>) -> Json<WorkerList> {
    Json(worker_views::list(&backends))
}

/// Adds a worker
///
/// Its health is checked at once; it is chosen from the first check that passes. The fields of sglang-router and
/// smg are understood too: `worker_type`, `model_id` and `runtime` are `role`, `model` and `engine`; what has no
/// effect here, as `priority` and `cost`, is told in `warnings`.
#[utoipa::path(post, path = "/workers", tag = "workers", request_body = WorkerEntry,
    params(("wait_secs" = Option<u64>, Query, description = "Answer when it has passed a check, or after so many seconds; up to 600. Default: at once")), responses(
    (status = 201, description = "Added", body = WorkerView),
    (status = 400, description = "Not a worker", body = Problem, content_type = "application/problem+json"),
    (status = 409, description = "There already", body = Problem, content_type = "application/problem+json"),
    (status = 415, description = "Another content type", body = Problem, content_type = "application/problem+json"),
))]
pub(crate) async fn add(
    State(workers): State<Workers>,
    InQuery(wait): InQuery<WaitLimit>,
    request: Request,
) -> Result<(StatusCode, [(HeaderName, String); 1], Extension<Changed>, Json<WorkerView>), Problem> {
    let wait = wait.checked()?;
    let (head, body) = request.into_parts();
    BodyKind::of(&head.headers, &[BodyKind::Json])?;
    let body = bytes_of(&head, body, MAX_JSON_BYTES).await?;
    let WorkerBody { fields, warnings } = WorkerBody::read(&body)?;
    let not_one = |error: serde_json::Error| {
        let problem = nearest_first(&without_user(&error.to_string()));
        Problem::new(StatusCode::BAD_REQUEST, format!("not a worker: {problem}"))
    };
    let entry: WorkerEntry = serde_json::from_value(Value::Object(fields)).map_err(not_one)?;
    let (changed, target, not_kept) = add_entry(&workers, &entry).await?;
    healthy_or_over(&workers.backends, &target, wait).await;
    let warnings = told(&target, warnings).into_iter().chain(not_kept).collect();
    let view = WorkerView { warnings, ..view(&workers.backends, &target) };
    let location = [(header::LOCATION, format!("/workers/{}", view.id))];
    Ok((StatusCode::CREATED, location, Extension(changed), Json(view)))
}

/// Adds a worker, and keeps it if any are kept; why it is not kept though others are.
///
/// # Errors
///
/// 400 if it is none, 409 if it is there already.
pub(crate) async fn add_entry(
    Workers { backends, kept }: &Workers,
    entry: &WorkerEntry,
) -> Result<(Changed, Arc<Target>, Option<String>), Problem> {
    let refused = |text: String| Problem::new(StatusCode::BAD_REQUEST, text);
    let mut faults = Vec::new();
    let entry = check_worker(entry, "", &mut faults);
    if !faults.is_empty() {
        return Err(refused(Faults(faults).to_string()));
    }
    let turn = turn(kept.as_ref()).await;
    match backends.add_from(WorkerSource::Operator, &entry) {
        Ok(target) => {
            tracing::info!(worker = entry.url, "added");
            let url = target.endpoint().url().to_string();
            let not_kept = match turn {
                Some((kept, turn)) => kept.add(turn, WorkerEntry { url, ..entry }).await.err(),
                None => None,
            };
            backends.shown().await;
            Ok((added(&target), target, not_kept))
        }
        Err(error @ AddError::Fleet(_)) => Err(there_already(backends, &entry, &error)),
        Err(error) => Err(refused(error.to_string())),
    }
}

/// What had no effect, in the log too.
fn told(target: &Target, warnings: Vec<String>) -> Vec<String> {
    for warning in &warnings {
        tracing::warn!(worker = %target.endpoint().url(), warning, "part of what was said of a worker");
    }
    warnings
}

/// Shows a worker
#[utoipa::path(get, path = "/workers/{url}", tag = "workers",
    params(("url" = String, Path, description = "Its id, or its URL as it is or percent-encoded")), responses(
    (status = 200, body = WorkerView),
    (status = 404, description = "No such worker", body = Problem, content_type = "application/problem+json"),
))]
pub(crate) async fn show(
    State(Workers { backends, .. }): State<Workers>,
    InPath(name): InPath<String>,
) -> Result<Json<WorkerView>, Problem> {
    let targets = backends.targets(&url_of(&backends, &name));
    let target = targets.first().ok_or_else(|| unknown(&backends, &name))?;
    Ok(Json(view(&backends, target)))
}

/// Changes a worker
///
/// The body is a merge patch (RFC 7396) over what `POST /workers` takes: what it does not name stays, `null` is
/// the default. Requests in flight, connections and what is known of the worker stay too.
#[utoipa::path(patch, path = "/workers/{url}", tag = "workers", request_body = WorkerEntry,
    params(("url" = String, Path, description = "Its id, or its URL as it is or percent-encoded")), responses(
    (status = 200, description = "Changed", body = WorkerView),
    (status = 400, description = "Not a worker any more", body = Problem, content_type = "application/problem+json"),
    (status = 404, description = "No such worker", body = Problem, content_type = "application/problem+json"),
    (status = 409, description = "It is being removed", body = Problem, content_type = "application/problem+json"),
    (status = 415, description = "Another content type", body = Problem, content_type = "application/problem+json"),
))]
pub(crate) async fn change(
    State(Workers { backends, kept }): State<Workers>,
    InPath(name): InPath<String>,
    request: Request,
) -> Result<(Extension<Changed>, Json<WorkerView>), Problem> {
    let (head, body) = request.into_parts();
    BodyKind::of(&head.headers, &[BodyKind::Json])?;
    let WorkerBody { fields: patch, warnings } =
        WorkerBody::read(&bytes_of(&head, body, MAX_JSON_BYTES).await?)?;
    let turn = turn(kept.as_ref()).await;
    let url = url_of(&backends, &name);
    let origin = backends.origin(&url).ok_or_else(|| unknown(&backends, &name))?;
    let entry = worker_change::changed(&origin, &patch)?;
    let changed =
        backends.change(&entry).map_err(|error| Problem::new(StatusCode::BAD_REQUEST, error.to_string()));
    let target = changed?.ok_or_else(|| unknown(&backends, &name))?;
    let keys = worker_change::keys(&patch);
    tracing::info!(worker = entry.url, keys, "changed by an operator");
    let mut warnings = told(&target, warnings);
    if let Some((kept, turn)) = turn.filter(|_| origin.source == WorkerSource::Operator) {
        warnings.extend(kept.add(turn, entry).await.err());
    }
    backends.shown().await;
    let view = WorkerView { warnings, ..view(&backends, &target) };
    Ok((Extension(Changed(shown(&format!("worker {}: {keys}", view.url)))), Json(view)))
}

/// Changes a worker, as sglang-router has it
///
/// As PATCH: what the body does not name stays.
#[utoipa::path(put, path = "/workers/{url}", tag = "workers", request_body = WorkerEntry,
    params(("url" = String, Path, description = "Its id, or its URL as it is or percent-encoded")), responses(
    (status = 200, description = "Changed", body = WorkerView),
    (status = 400, description = "Not a worker any more", body = Problem, content_type = "application/problem+json"),
    (status = 404, description = "No such worker", body = Problem, content_type = "application/problem+json"),
    (status = 409, description = "It is being removed", body = Problem, content_type = "application/problem+json"),
    (status = 415, description = "Another content type", body = Problem, content_type = "application/problem+json"),
))]
pub(crate) async fn change_as_elsewhere(
    workers: State<Workers>,
    name: InPath<String>,
    request: Request,
) -> Result<(Extension<Changed>, Json<WorkerView>), Problem> {
    change(workers, name, request).await
}

/// The advice about a worker that exists already.
fn there_already(backends: &Backends, entry: &WorkerEntry, error: &AddError) -> Problem {
    let url = normal(&entry.url);
    let hint = match backends.targets(&url).first() {
        Some(target) if target.worker().is_draining() => {
            "; it is draining: POST /workers/undrain?url=… ends that"
        }
        _ => "",
    };
    let change = "; PATCH /workers/{id} (`sgl-router worker set`) changes it while it serves";
    Problem::new(StatusCode::CONFLICT, format!("{error}{change}{hint}"))
}

/// Drains a worker, then removes it
#[utoipa::path(delete, path = "/workers", tag = "workers", params(("url" = String, Query, description = "URL of the worker")), responses(
    (status = 202, description = "Draining, removed then", body = WorkerRemoval),
    (status = 404, description = "No such worker", body = Problem, content_type = "application/problem+json"),
))]
pub(crate) async fn remove_by_query(
    State(workers): State<Workers>,
    InQuery(ByUrl { url }): InQuery<ByUrl>,
) -> Result<(StatusCode, Json<WorkerRemoval>), Problem> {
    remove(&workers, &url).await
}

/// Drains a worker, then removes it
#[utoipa::path(delete, path = "/workers/{url}", tag = "workers",
    params(("url" = String, Path, description = "Id of the worker, or its URL as it is or percent-encoded")), responses(
    (status = 202, description = "Draining, removed then", body = WorkerRemoval),
    (status = 404, description = "No such worker", body = Problem, content_type = "application/problem+json"),
))]
pub(crate) async fn remove_by_path(
    State(workers): State<Workers>,
    InPath(url): InPath<String>,
) -> Result<(StatusCode, Json<WorkerRemoval>), Problem> {
    remove(&workers, &url).await
}

/// 202: the removal goes on in the background.
pub(crate) async fn remove(
    workers: &Workers,
    url: &str,
) -> Result<(StatusCode, Json<WorkerRemoval>), Problem> {
    let normal = normal(&url_of(&workers.backends, url));
    let turn = turn(workers.kept.as_ref()).await;
    let _removal = workers.backends.retire(&normal).ok_or_else(|| unknown(&workers.backends, url))?;
    tracing::info!(worker = normal, "draining, then removing");
    let (status, worker_id) = ("accepted".to_owned(), id_of(&normal));
    let mut removal = WorkerRemoval { status, worker_id, url: normal.clone(), warnings: Vec::new() };
    if let Some((kept, turn)) = turn {
        removal.warnings.extend(kept.remove(turn, normal).await.err());
    }
    Ok((StatusCode::ACCEPTED, Json(removal)))
}

/// The turn for a change of the fleet and of what is kept of it, if anything is.
async fn turn(kept: Option<&Arc<KeptWorkers>>) -> Option<(&Arc<KeptWorkers>, Turn)> {
    let kept = kept?;
    Some((kept, kept.turn().await))
}

/// The answer about a worker that is not there. Metrics and records show ranks by URLs of their own, which
/// look like a user's name; what is shown of them is the URL of a worker that is there, and so no secret.
pub(crate) fn unknown(backends: &Backends, url: &str) -> Problem {
    let whole = url.rsplit_once('@').map(|(engine, _)| normal(engine));
    let detail = match whole.filter(|engine| !backends.targets(engine).is_empty()) {
        Some(engine) => format!("that is a rank of {engine}, which is drained and removed as a whole"),
        None => format!("there is no worker {}{}", WorkerUrl::refused(url), meant(backends, url)),
    };
    Problem::coded(StatusCode::NOT_FOUND, problem_code::WORKER_NOT_FOUND, detail)
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use crate::config::check::{Surroundings, check};
    use crate::config::router::RouterConfig;
    use sglang_router_rs::policies::NativePolicy;

    use super::*;

    fn starts(future: impl Future) -> bool {
        matches!(pin!(future).poll(&mut Context::from_waker(Waker::noop())), Poll::Ready(_))
    }

    fn backends() -> Arc<Backends> {
        let surroundings =
            Surroundings { built_in_policies: &NativePolicy::NAMES, ..Surroundings::default() };
        Arc::new(Backends::new(check(RouterConfig::default(), surroundings).unwrap().proxy))
    }

    #[tokio::test]
    async fn rank_is_told_apart_from_a_user_whose_password_is_not_shown() {
        let backends = backends();
        let entry = WorkerEntry { url: "http://127.0.0.1:1".to_owned(), ..WorkerEntry::default() };
        backends.add(&entry).unwrap();
        let said = |url: &str| serde_json::to_string(&unknown(&backends, url)).unwrap();
        assert!(said("http://127.0.0.1:1@3").contains("a rank of http://127.0.0.1:1,"));
        let of_a_user = said("http://me:secret@127.0.0.1:1");
        assert!(of_a_user.contains("no worker") && !of_a_user.contains("secret"), "{of_a_user}");
    }

    #[tokio::test]
    async fn removal_waits_for_its_turn_and_ends_though_its_client_has_gone() {
        let dir = tempfile::tempdir().unwrap();
        let kept = Arc::new(KeptWorkers::open(dir.path()));
        let backends = backends();
        let entry = WorkerEntry { url: "http://127.0.0.1:1".to_owned(), ..WorkerEntry::default() };
        backends.add(&entry).unwrap();
        kept.add(kept.turn().await, entry.clone()).await.unwrap();
        let workers = Workers { backends: Arc::clone(&backends), kept: Some(Arc::clone(&kept)) };
        let is_draining = || backends.snapshot().targets().iter().all(|target| target.worker().is_draining());

        let turn = kept.turn().await;
        assert!(!starts(remove(&workers, &entry.url)));
        assert!(!is_draining(), "another change is under way");
        drop(turn);
        assert!(!starts(remove(&workers, &entry.url)), "it writes the file, and nobody waits for that");
        assert!(is_draining());
        drop(kept.turn().await);
        assert!(kept.entries().is_empty());
    }
}
