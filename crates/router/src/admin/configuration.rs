//! The configuration of the router: what it runs on, and reading it again.

use std::sync::{Arc, OnceLock};

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use http::StatusCode;
use parking_lot::Mutex;
use serde::Deserialize;
use serde_json::Value;
use tokio::sync::{mpsc, oneshot};

use crate::admin::extract::InQuery;
use crate::admin::who::{Changed, LoggedElsewhere};
use sgl_api::{Problem, ReloadReport};

/// How many reloads may wait for one that is under way.
const WAITING_RELOADS: usize = 16;

/// Somebody wants the configuration to be read again.
#[derive(Debug)]
pub(crate) struct ReloadRequest {
    /// Only tell what would come of it.
    pub(crate) dry_run: bool,
    /// Where the answer goes. Nobody may wait for it any more.
    pub(crate) answer: oneshot::Sender<Result<ReloadReport, Problem>>,
}

/// The way to whoever can read the configuration again. A router that a program has put together has nobody
/// who can: its door stays shut.
#[derive(Debug, Default)]
pub(crate) struct ConfigDoor(OnceLock<OpenDoor>);

#[derive(Debug)]
struct OpenDoor {
    requests: mpsc::Sender<ReloadRequest>,
    running: Mutex<Value>,
}

impl ConfigDoor {
    /// Opens it: what the router runs on, with nothing secret in it; requests for reloads come out. Only the
    /// first one who opens it gets any.
    pub(crate) fn open(&self, running: Value) -> mpsc::Receiver<ReloadRequest> {
        let (requests, receiver) = mpsc::channel(WAITING_RELOADS);
        let _ = self.0.set(OpenDoor { requests, running: Mutex::new(running) });
        receiver
    }

    /// What the router runs on now, made of what it ran on before.
    pub(crate) fn update(&self, change: impl FnOnce(Value) -> Value) {
        if let Some(open) = self.0.get() {
            let mut running = open.running.lock();
            *running = change(running.take());
        }
    }

    fn opened(&self) -> Result<&OpenDoor, Problem> {
        self.0.get().ok_or_else(|| {
            let detail = "this router has no configuration to read again: a program has put it together, or \
                it has not begun to serve yet";
            Problem::coded(StatusCode::CONFLICT, "no_configuration", detail)
        })
    }
}

/// How the configuration is read again.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ReloadHow {
    /// 1 or true: nothing is changed.
    dry_run: Option<String>,
}

impl ReloadHow {
    fn is_dry_run(&self) -> Result<bool, Problem> {
        match self.dry_run.as_deref() {
            None | Some("0" | "false") => Ok(false),
            Some("" | "1" | "true") => Ok(true),
            Some(other) => {
                let detail = format!("dry_run: found {other:?}; allowed: 1, true, 0, false");
                Err(Problem::coded(StatusCode::BAD_REQUEST, "bad_query", detail))
            }
        }
    }
}

/// The endpoints.
pub(crate) fn routes(door: Arc<ConfigDoor>) -> Router {
    Router::new().route("/v1/config", get(show)).route("/v1/config/reload", post(reload)).with_state(door)
}

/// The configuration that the router runs on: the file with the flags laid over it, defaults included, and
/// what reloads have changed since
///
/// Secrets are `***`; one that is not set is null. Workers and plugins that operators added are not in it.
#[utoipa::path(get, path = "/v1/config", tag = "configuration", responses(
    (status = 200, description = "As the file has it", body = serde_json::Value),
    (status = 409, description = "There is none", body = Problem, content_type = "application/problem+json"),
))]
pub(crate) async fn show(State(door): State<Arc<ConfigDoor>>) -> Result<Json<Value>, Problem> {
    Ok(Json(door.opened()?.running.lock().clone()))
}

/// Reads the configuration again and applies what has changed, as SIGHUP does
///
/// With a fault anywhere in it nothing is applied but certificates. Of a dry run the answer is the same, and
/// nothing is changed: plugins that have changed are loaded aside to see whether they could be.
#[utoipa::path(post, path = "/v1/config/reload", tag = "configuration",
    params(("dry_run" = Option<bool>, Query, description = "1 or true: changes nothing")), responses(
    (status = 200, body = ReloadReport),
    (status = 400, description = "Another query", body = Problem, content_type = "application/problem+json"),
    (status = 409, description = "There is none", body = Problem, content_type = "application/problem+json"),
    (status = 422, description = "The configuration has faults", body = Problem,
        content_type = "application/problem+json"),
    (status = 503, description = "The router is stopping", body = Problem,
        content_type = "application/problem+json"),
))]
pub(crate) async fn reload(
    State(door): State<Arc<ConfigDoor>>,
    InQuery(how): InQuery<ReloadHow>,
) -> Result<Response, Problem> {
    let dry_run = how.is_dry_run()?;
    let (answer, answered) = oneshot::channel();
    let stopping = || Problem::coded(StatusCode::SERVICE_UNAVAILABLE, "stopping", "the router is stopping");
    let sent = door.opened()?.requests.send(ReloadRequest { dry_run, answer }).await;
    sent.map_err(|_| stopping())?;
    let report = answered.await.map_err(|_| stopping())??;
    let counts = (report.applied.len(), report.needs_restart.len(), report.refused.len());
    let mut response = Json(report).into_response();
    if dry_run {
        response.extensions_mut().insert(LoggedElsewhere);
    } else {
        let (applied, left, refused) = counts;
        let text = format!("{applied} applied, {left} need a restart, {refused} refused");
        response.extensions_mut().insert(Changed(text));
    }
    Ok(response)
}
