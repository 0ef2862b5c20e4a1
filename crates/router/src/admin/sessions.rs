//! Sessions, which an operator, or who trains, may say are over.

use std::sync::Arc;

use axum::extract::{RawQuery, State};
use axum::routing::post;
use axum::{Json, Router};
use http::StatusCode;

use crate::proxy::DataPlane;
use crate::proxy::sessions::finish_session;
use sgl_api::{FinishedSession, Problem};

/// The endpoint of sessions.
pub(crate) fn routes(proxy: Arc<DataPlane>) -> Router {
    Router::new().route("/finish_session", post(finish)).with_state(proxy)
}

/// Says that a session is over
///
/// The policy need not wait for its silence. Saying it again, or of a session that nobody knows, changes
/// nothing. Clients may do it at their own listener, too.
#[utoipa::path(post, path = "/finish_session", tag = "sessions",
    params(("session_id" = String, Query, description = "Its key, as its requests have it: 1 to 1024 bytes")),
    responses(
    (status = 200, body = FinishedSession),
    (status = 400, description = "No key", body = Problem, content_type = "application/problem+json"),
))]
pub(crate) async fn finish(
    State(proxy): State<Arc<DataPlane>>,
    RawQuery(query): RawQuery,
) -> Result<Json<FinishedSession>, Problem> {
    let ended = finish_session(proxy.placing(), query.as_deref());
    ended.map(Json).map_err(|error| Problem::coded(StatusCode::BAD_REQUEST, "bad_query", error.to_string()))
}
