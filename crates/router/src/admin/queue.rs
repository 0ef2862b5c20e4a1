//! The requests that wait.

use std::sync::Arc;
use std::time::Instant;

use axum::extract::State;
use axum::routing::get;
use axum::{Json, Router};
use http::StatusCode;
use serde::Deserialize;

use crate::admin::extract::InQuery;
use crate::proxy::DataPlane;
use crate::proxy::queue::WaitingRequest;
use sgl_api::{Problem, QueueView, WaitingView};

/// Requests that are listed by default.
const DEFAULT_LIMIT: usize = 100;

/// Requests that are listed at the most.
const MAX_LIMIT: usize = 1000;

/// How many are wanted.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct QueueLimit {
    limit: Option<usize>,
}

/// The endpoint of the queue.
pub(crate) fn routes(proxy: Arc<DataPlane>) -> Router {
    Router::new().route("/v1/queue", get(show)).with_state(proxy)
}

/// The requests that wait
#[utoipa::path(get, path = "/v1/queue", tag = "queue",
    params(("limit" = Option<usize>, Query, description = "How many are listed at most; default 100, at most 1000")),
    responses(
    (status = 200, body = QueueView),
    (status = 400, description = "Another query, or a limit out of range", body = Problem, content_type = "application/problem+json"),
))]
pub(crate) async fn show(
    State(proxy): State<Arc<DataPlane>>,
    InQuery(query): InQuery<QueueLimit>,
) -> Result<Json<QueueView>, Problem> {
    let limit = query.limit.unwrap_or(DEFAULT_LIMIT);
    if limit > MAX_LIMIT {
        let detail = format!("`limit` is {limit}, allowed: 0 to {MAX_LIMIT}");
        return Err(Problem::coded(StatusCode::BAD_REQUEST, "bad_query", detail));
    }
    let queue = proxy.queue();
    let look = queue.look(limit);
    let (now, policy) = (Instant::now(), proxy.policy());
    Ok(Json(QueueView {
        waiting: look.waiting,
        size: queue.settings().size,
        body_bytes: look.body_bytes,
        max_body_bytes: queue.max_body_bytes(),
        max_concurrent_requests: queue.settings().max_concurrent,
        served: queue.limit().map(|limit| limit.served()),
        requests: look.first.iter().map(|request| view(request, policy.name(), now)).collect(),
    }))
}

fn view(request: &WaitingRequest, policy: &str, now: Instant) -> WaitingView {
    let ms = |from: Instant, to: Instant| {
        u64::try_from(to.saturating_duration_since(from).as_millis()).unwrap_or(u64::MAX)
    };
    WaitingView {
        waits_for: request.waits_for,
        route: request.route.name().to_owned(),
        model: request.model.as_deref().map(str::to_owned),
        waited_ms: ms(request.since, now),
        left_ms: ms(now, request.until),
        body_bytes: request.body_bytes,
        plugin: request.wait.map(|_| policy.to_owned()),
        generation: request.wait.map(|wait| wait.generation),
        key: request.wait.map(|wait| wait.key.get()).filter(|key| key.is_finite()),
    }
}
