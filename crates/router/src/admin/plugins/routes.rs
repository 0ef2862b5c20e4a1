//! Which path does what.

use std::sync::Arc;

use axum::extract::{FromRef, Request, State};
use axum::response::Response;
use axum::routing::{get, patch, post};
use axum::{Json, Router};
use http::StatusCode;
use serde::Deserialize;

use crate::admin::extract::{InPath, InQuery};
use crate::admin::plugins::load_log::LoadLog;
use crate::admin::plugins::settings_schema::{FileAndSettings, SettingsPatch};
use crate::admin::plugins::upload::Upload;
use crate::admin::plugins::{push, unreported, upload};
use crate::admin::who::Who;
use crate::manage::PluginManager;
use crate::proxy::Backends;
use sgl_api::{PluginList, PluginSummary, PluginView, Problem, ProgressLine, Pushed};

type Manager = State<Arc<PluginManager>>;

/// What the endpoints change, and look at.
#[derive(Clone, Debug)]
pub(crate) struct Plugins {
    manager: Arc<PluginManager>,
    backends: Arc<Backends>,
}

impl FromRef<Plugins> for Arc<PluginManager> {
    fn from_ref(plugins: &Plugins) -> Self {
        Self::clone(&plugins.manager)
    }
}

impl FromRef<Plugins> for Arc<Backends> {
    fn from_ref(plugins: &Plugins) -> Self {
        Self::clone(&plugins.backends)
    }
}

/// The endpoints of plugins, which place requests at the workers of `backends`.
pub fn routes(manager: Arc<PluginManager>, backends: Arc<Backends>) -> Router {
    Router::new()
        .route("/v1/plugins", get(list))
        .route("/v1/plugins/{name}", get(show).put(put).delete(unload))
        .route("/v1/plugins/{name}/rollback", post(roll_back))
        .route("/v1/plugins/{name}/promote", post(promote))
        .route("/v1/plugins/{name}/pause", post(pause))
        .route("/v1/plugins/{name}/resume", post(resume))
        .route("/v1/plugins/{name}/config", patch(reconfigure))
        .with_state(Plugins { manager, backends })
}

/// Lists the plugins
#[utoipa::path(get, path = "/v1/plugins", tag = "plugins", responses((status = 200, body = PluginList)))]
pub(crate) async fn list(State(manager): Manager, State(backends): State<Arc<Backends>>) -> Json<PluginList> {
    let names = manager.factory().list_wasm_plugins();
    // Leaves out a plugin that is unloaded meanwhile.
    let details = names.iter().filter_map(|name| manager.factory().plugin_detail(name));
    let plugins = details.map(|detail| {
        let inputs = unreported::inputs(&detail, &backends);
        let unreported = inputs.into_iter().map(|input| input.input).collect();
        PluginSummary { unreported, ..PluginSummary::of(&detail, manager.is_in_use(&detail.name)) }
    });
    Json(PluginList { plugins: plugins.collect() })
}

/// Everything that is known of a plugin
#[utoipa::path(get, path = "/v1/plugins/{name}", tag = "plugins",
    params(("name" = String, Path, description = "Name of the plugin")), responses(
    (status = 200, body = PluginView),
    (status = 404, description = "No such plugin", body = Problem, content_type = "application/problem+json"),
))]
pub(crate) async fn show(
    State(manager): Manager,
    State(backends): State<Arc<Backends>>,
    InPath(name): InPath<String>,
) -> Result<Json<PluginView>, Problem> {
    let view = view(&manager, &name)?;
    let unreported = Some(unreported::inputs(&view.detail, &backends));
    Ok(Json(PluginView { unreported, ..view }))
}

/// Loads a module, or replaces the plugin of that name
///
/// The body is the module, with settings in the query (each value as JSON); or JSON that names a
/// file in the plugin directory, as `embedded:NAME` a module that the router brings along, or as
/// `oci://HOST/REPOSITORY:TAG` one that it reads from a registry, beside the
/// settings. What serves keeps the settings that are not
/// given, apart from `options.rollout` and `options.digest`, and serves until the new generation
/// is ready. With `accept: application/x-ndjson` the answer has a line for each step as it begins;
/// its status is 200 then, and the last line tells how it ended.
#[utoipa::path(put, path = "/v1/plugins/{name}", tag = "plugins",
    params(
        ("name" = String, Path, description = "Name of the plugin"),
        ("max_execution_time_ms" = Option<u64>, Query, description = "Budget of one call"),
        ("max_memory_bytes" = Option<u64>, Query, description = "Memory of one instance"),
        ("allowed_syscalls" = Option<String>, Query, description = "As JSON: a list of WASI functions"),
        ("config" = Option<String>, Query, description = "As JSON: the plugin's own configuration"),
        ("options" = Option<String>, Query, description = "As JSON: everything else"),
        ("x-sgl-module-signature" = Option<String>, Header,
            description = "Detached signature of the module in the body, in hex"),
    ),
    request_body(content(
        (Vec<u8> = "application/wasm"), (Vec<u8> = "application/octet-stream"),
        (FileAndSettings = "application/json"),
    )),
    responses(
    (status = 200, description = "Replaced, or the steps", content(
        (Pushed = "application/json"), (ProgressLine = "application/x-ndjson"))),
    (status = 201, description = "Loaded for the first time", body = Pushed),
    (status = 400, description = "Not understood", body = Problem, content_type = "application/problem+json"),
    (status = 404, description = "No such file", body = Problem, content_type = "application/problem+json"),
    (status = 409, description = "Not now", body = Problem, content_type = "application/problem+json"),
    (status = 408, description = "The body was too slow", body = Problem, content_type = "application/problem+json"),
    (status = 413, description = "Too large", body = Problem, content_type = "application/problem+json"),
    (status = 415, description = "Another content type", body = Problem, content_type = "application/problem+json"),
    (status = 422, description = "Refused module or settings", body = Problem,
        content_type = "application/problem+json"),
    (status = 503, description = "As many loads as may be at a time; try again", body = Problem,
        content_type = "application/problem+json"),
    (status = 507, description = "No room for its instances", body = Problem,
        content_type = "application/problem+json"),
))]
pub(crate) async fn put(
    State(manager): Manager,
    InPath(name): InPath<String>,
    who: Who,
    request: Request,
) -> Result<Response, Problem> {
    let streamed = push::wants_stream(request.headers());
    let Upload { module, settings, permit } = upload::read(request).await?;
    let load = move |progress| async move {
        let (log, module) = LoadLog::of_module(who, &name, module, &settings).await;
        let outcome = manager.push(&name, module, &settings, progress).await;
        log.write(&outcome).await;
        drop(permit);
        outcome
    };
    Ok(push::answer(streamed, load).await)
}

/// Changes settings of a plugin
///
/// A JSON merge patch of its settings (`null` = back to the default). The result is a new
/// generation of the module that serves, which takes over as `options.rollout` says; nothing is
/// compiled. Answers as PUT does.
#[utoipa::path(patch, path = "/v1/plugins/{name}/config", tag = "plugins",
    params(("name" = String, Path, description = "Name of the plugin")),
    request_body = SettingsPatch, responses(
    (status = 200, description = "Replaced, or the steps", content(
        (Pushed = "application/json"), (ProgressLine = "application/x-ndjson"))),
    (status = 400, description = "Not understood", body = Problem, content_type = "application/problem+json"),
    (status = 404, description = "No such plugin", body = Problem, content_type = "application/problem+json"),
    (status = 415, description = "Another content type", body = Problem, content_type = "application/problem+json"),
    (status = 422, description = "Refused settings", body = Problem, content_type = "application/problem+json"),
))]
pub(crate) async fn reconfigure(
    State(manager): Manager,
    InPath(name): InPath<String>,
    who: Who,
    request: Request,
) -> Result<Response, Problem> {
    let streamed = push::wants_stream(request.headers());
    let settings = upload::read_settings(request).await?;
    let load = move |progress| async move {
        let log = LoadLog::of_settings(who, &name, &settings);
        let outcome = manager.reconfigure(&name, &settings, progress).await;
        log.write(&outcome).await;
        outcome
    };
    Ok(push::answer(streamed, load).await)
}

/// How a plugin is unloaded.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Unload {
    /// Unload it even if the router places requests with it: its failure policy decides then.
    #[serde(default)]
    force: bool,
}

/// Unloads a plugin
///
/// Calls in flight finish.
#[utoipa::path(delete, path = "/v1/plugins/{name}", tag = "plugins",
    params(("name" = String, Path, description = "Name of the plugin"),
        ("force" = Option<bool>, Query, description = "Even if the router places requests with it")), responses(
    (status = 204, description = "Unloaded"),
    (status = 404, description = "No such plugin", body = Problem, content_type = "application/problem+json"),
    (status = 409, description = "The router uses it", body = Problem, content_type = "application/problem+json"),
))]
pub(crate) async fn unload(
    State(manager): Manager,
    InPath(name): InPath<String>,
    InQuery(Unload { force }): InQuery<Unload>,
) -> Result<StatusCode, Problem> {
    manager.unload(&name, force).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Drops the canary or the shadow of a plugin, or goes back to its previous generation
#[utoipa::path(post, path = "/v1/plugins/{name}/rollback", tag = "plugins",
    params(("name" = String, Path, description = "Name of the plugin")), responses(
    (status = 200, body = PluginView),
    (status = 404, description = "No such plugin", body = Problem, content_type = "application/problem+json"),
    (status = 409, description = "Nothing to go back to", body = Problem,
        content_type = "application/problem+json"),
))]
pub(crate) async fn roll_back(
    State(manager): Manager,
    InPath(name): InPath<String>,
) -> Result<Json<PluginView>, Problem> {
    changed(manager, name, |manager, name| async move { manager.roll_back(&name).await }).await
}

/// Makes the canary or the shadow of a plugin its stable generation
#[utoipa::path(post, path = "/v1/plugins/{name}/promote", tag = "plugins",
    params(("name" = String, Path, description = "Name of the plugin")), responses(
    (status = 200, body = PluginView),
    (status = 404, description = "No such plugin", body = Problem, content_type = "application/problem+json"),
    (status = 409, description = "Nothing to promote", body = Problem,
        content_type = "application/problem+json"),
))]
pub(crate) async fn promote(
    State(manager): Manager,
    InPath(name): InPath<String>,
) -> Result<Json<PluginView>, Problem> {
    changed(manager, name, |manager, name| async move { manager.promote(&name).await }).await
}

/// Takes a plugin out of the path; its failure policy decides meanwhile
#[utoipa::path(post, path = "/v1/plugins/{name}/pause", tag = "plugins",
    params(("name" = String, Path, description = "Name of the plugin")), responses(
    (status = 200, body = PluginView),
    (status = 404, description = "No such plugin", body = Problem, content_type = "application/problem+json"),
))]
pub(crate) async fn pause(
    State(manager): Manager,
    InPath(name): InPath<String>,
) -> Result<Json<PluginView>, Problem> {
    manager.set_paused(&name, true)?;
    Ok(Json(view(&manager, &name)?))
}

/// Puts a paused plugin back into the path
#[utoipa::path(post, path = "/v1/plugins/{name}/resume", tag = "plugins",
    params(("name" = String, Path, description = "Name of the plugin")), responses(
    (status = 200, body = PluginView),
    (status = 404, description = "No such plugin", body = Problem, content_type = "application/problem+json"),
))]
pub(crate) async fn resume(
    State(manager): Manager,
    InPath(name): InPath<String>,
) -> Result<Json<PluginView>, Problem> {
    manager.set_paused(&name, false)?;
    Ok(Json(view(&manager, &name)?))
}

/// Makes a change to its end, whether the client waits for it or not, and then shows the plugin.
async fn changed<F>(
    manager: Arc<PluginManager>,
    name: String,
    change: impl FnOnce(Arc<PluginManager>, String) -> F,
) -> Result<Json<PluginView>, Problem>
where
    F: Future<Output = Result<(), crate::manage::ManageError>> + Send + 'static,
{
    push::to_its_end(change(Arc::clone(&manager), name.clone())).await?;
    Ok(Json(view(&manager, &name)?))
}

fn view(manager: &PluginManager, name: &str) -> Result<PluginView, Problem> {
    let detail = manager.detail(name)?;
    let canary_percent = manager.canary_percent(name);
    Ok(PluginView { in_use: manager.is_in_use(name), canary_percent, unreported: None, detail })
}
