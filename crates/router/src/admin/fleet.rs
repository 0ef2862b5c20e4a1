//! The fleet that the router is one of.

use axum::extract::State;
use axum::routing::get;
use axum::{Json, Router};

use crate::fleet::FleetBoard;
use sgl_api::FleetAnswer;

/// The endpoint.
pub(crate) fn routes(board: FleetBoard) -> Router {
    Router::new().route("/v1/fleet", get(show)).with_state(board)
}

/// The fleet: what it is to serve, how far that is, and who is in it
#[utoipa::path(get, path = "/v1/fleet", tag = "fleet", responses((status = 200, body = FleetAnswer)))]
pub(crate) async fn show(State(board): State<FleetBoard>) -> Json<FleetAnswer> {
    Json(FleetAnswer { fleet: board.view() })
}
