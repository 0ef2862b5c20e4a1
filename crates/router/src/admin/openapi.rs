//! The description of the operators' listener, generated from its handlers and types.

use axum::Json;
use axum::Router;
use axum::routing::get;
use utoipa::Modify;
use utoipa::OpenApi;
use utoipa::openapi::security::Http;
use utoipa::openapi::security::HttpAuthScheme;
use utoipa::openapi::security::SecurityScheme;

use crate::admin::decisions;
use crate::admin::plugins::routes as plugins;
use crate::admin::workers;

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
        workers::list,
        workers::add,
        workers::drain,
        workers::undrain,
        workers::remove_by_query,
        workers::remove_by_path,
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
