//! Where workers come from, for operators.

use axum::extract::State;
use axum::routing::get;
use axum::{Json, Router};

use crate::sources::SourceBoard;
use sgl_api::SourceList;

/// The endpoint.
pub(crate) fn routes(board: SourceBoard) -> Router {
    Router::new().route("/v1/sources", get(list)).with_state(board)
}

/// The sources of workers: a file, names, pods
#[utoipa::path(get, path = "/v1/sources", tag = "workers", responses((status = 200, body = SourceList)))]
pub(crate) async fn list(State(board): State<SourceBoard>) -> Json<SourceList> {
    Json(board.view())
}
