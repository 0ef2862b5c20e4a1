//! The description of the operators' listener, generated from its handlers and types.

use axum::routing::get;
use axum::{Json, Router};
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityScheme};
use utoipa::{Modify, OpenApi};

use crate::admin::plugins::routes as plugins;
use crate::admin::{
    audit, configuration, decisions, engine_metrics, fan_out, fleet, policy, queue, sessions, status,
    worker_aliases, worker_drains, worker_sources, workers,
};

#[derive(Debug, OpenApi)]
#[openapi(
    info(title = "sgl-router operations", description = "Workers and plugins of a running router"),
    paths(
        plugins::list,
        plugins::show,
        plugins::put,
        plugins::unload,
        plugins::roll_back,
        plugins::promote,
        plugins::pause,
        plugins::resume,
        plugins::reconfigure,
        decisions::list,
        decisions::show,
        queue::show,
        sessions::finish,
        policy::list,
        policy::show,
        policy::choose,
        policy::promote,
        policy::roll_back,
        configuration::show,
        configuration::reload,
        status::show,
        status::events,
        audit::list,
        workers::list,
        workers::add,
        worker_drains::drain,
        worker_drains::undrain,
        workers::remove_by_query,
        workers::remove_by_path,
        workers::show,
        workers::change,
        workers::change_as_elsewhere,
        worker_aliases::add_worker,
        worker_aliases::remove_worker,
        worker_aliases::list_workers,
        worker_aliases::loads,
        worker_aliases::loads_of_smg,
        worker_aliases::loads_as_engines,
        worker_sources::list,
        fleet::show,
        fan_out::fan_out,
        fan_out::fan_out_any,
        engine_metrics::show,
        describe,
    ),
    security((), ("bearer" = [])),
    modifiers(&BearerToken),
)]
struct Description;

struct BearerToken;

impl Modify for BearerToken {
    fn modify(&self, description: &mut utoipa::openapi::OpenApi) {
        let bearer = SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer));
        description.components.get_or_insert_default().add_security_scheme("bearer", bearer);
    }
}

/// `GET /v1/openapi.json`.
pub fn routes() -> Router {
    Router::new().route("/v1/openapi.json", get(describe))
}

/// This description
#[utoipa::path(get, path = "/v1/openapi.json", tag = "description",
    responses((status = 200, description = "OpenAPI 3.1", body = serde_json::Value)))]
pub(crate) async fn describe() -> Json<utoipa::openapi::OpenApi> {
    Json(Description::openapi())
}
