//! Which path does what.

use std::sync::Arc;

use axum::Json;
use axum::Router;
use axum::extract::Path;
use axum::extract::Request;
use axum::extract::State;
use axum::response::Response;
use axum::routing::get;

use crate::admin::plugins::push;
use crate::admin::plugins::upload;
use crate::admin::plugins::view::PluginList;
use crate::admin::plugins::view::PluginSummary;
use crate::admin::plugins::view::PluginView;
use crate::admin::problem::Problem;
use crate::manage::PluginManager;

type Manager = State<Arc<PluginManager>>;

/// The endpoints of plugins.
pub fn routes(manager: Arc<PluginManager>) -> Router {
    Router::new()
        .route("/v1/plugins", get(list))
        .route("/v1/plugins/{name}", get(show).put(put))
        .with_state(manager)
}

async fn list(State(manager): Manager) -> Json<PluginList> {
    let names = manager.factory().list_wasm_plugins();
    // One that is unloaded meanwhile is left out.
    let details = names.iter().filter_map(|name| manager.factory().plugin_detail(name));
    let plugins = details.map(|detail| PluginSummary::of(&detail, manager.is_in_use(&detail.name))).collect();
    Json(PluginList { plugins })
}

async fn show(State(manager): Manager, Path(name): Path<String>) -> Result<Json<PluginView>, Problem> {
    let detail = manager.detail(&name)?;
    Ok(Json(PluginView { in_use: manager.is_in_use(&name), detail }))
}

async fn put(
    State(manager): Manager,
    Path(name): Path<String>,
    request: Request,
) -> Result<Response, Problem> {
    let streamed = push::wants_stream(request.headers());
    let (module, settings) = upload::read(request).await?;
    let load = move |progress| async move { manager.push(&name, module, &settings, progress).await };
    Ok(push::answer(streamed, load).await)
}
