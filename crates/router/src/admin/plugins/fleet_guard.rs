//! Keeps what a fleet serves from being changed at one router alone by mistake.

use axum::extract::{MatchedPath, RawPathParams, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::{Method, StatusCode};

use crate::fleet::FleetBoard;
use sgl_api::{LOCAL_HEADER, Problem, problem_code};
use sgl_fleet::desired_plugin::RolloutState;

/// Paths whose changes are no other plugin than the fleet's: a pause ends here, and nothing diverges.
const HARMLESS: [&str; 2] = ["/v1/plugins/{name}/pause", "/v1/plugins/{name}/resume"];

/// Refuses a change of a plugin that the fleet serves, unless it says that it is meant for this router alone.
///
/// # Cancel safety
///
/// As that of what it guards.
pub(crate) async fn check(
    State(board): State<FleetBoard>,
    path: MatchedPath,
    params: RawPathParams,
    request: Request,
    next: Next,
) -> Response {
    let is_change = request.method() != Method::GET && request.method() != Method::HEAD;
    if is_change && !HARMLESS.contains(&path.as_str()) && !request.headers().contains_key(LOCAL_HEADER) {
        let name = params.iter().find(|(key, _)| *key == "name").map(|(_, name)| name);
        if let Some(problem) = name.and_then(|name| refusal(&board, name)) {
            return problem.into_response();
        }
    }
    next.run(request).await
}

fn refusal(board: &FleetBoard, name: &str) -> Option<Problem> {
    let view = board.view()?;
    let plugin = view.plugins.iter().find(|plugin| plugin.name == name)?;
    if plugin.state == RolloutState::Removed.as_str() {
        return None;
    }
    let (fleet, generation) = (&view.name, plugin.generation);
    let detail = format!(
        "{name} is a plugin of the fleet {fleet} (generation {generation}): change it for all routers with \
         `sgl-router fleet push` or `fleet rollback`, or at this router alone, until the fleet's next generation, \
         with --local (header {LOCAL_HEADER})"
    );
    Some(Problem::coded(StatusCode::CONFLICT, problem_code::OF_FLEET, detail))
}
