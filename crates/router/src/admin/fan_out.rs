//! Calls by which operators steer engines, sent to the workers, all of them or some.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::{Path, Request, State};
use axum::routing::{get, post};
use axum::{Extension, Json, Router};
use bytes::Bytes;
use http::{HeaderMap, StatusCode, Uri, header};
use serde_json::Value;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::admin::body::bytes_of;
use crate::admin::fan_out_view::{FanOutAnswer, FanOutFailure, FanOutView};
use crate::admin::who::Changed;
use crate::admin::worker_id::{id_of, normal, url_of};
use crate::config::engine_calls::ENGINE_CALLS;
use crate::proxy::Backends;
use crate::proxy::fanned_call::FannedCall;
use crate::proxy::own_questions::NoAnswer;
use crate::proxy::target::Target;
use sgl_api::Problem;
use sgl_upstream::WorkerUrl;
use sglang_router_rs::types::shown;

/// Workers that are asked at a time.
const MAX_AT_A_TIME: usize = 32;

/// Largest body that is sent to workers.
const MAX_BODY_BYTES: usize = 64 << 20;

/// How long a worker may take, if nobody says otherwise: putting an engine to sleep takes its time.
const DEFAULT_LIMIT: Duration = Duration::from_secs(60);

/// The longest that may be said, in seconds.
const MAX_LIMIT_SECS: u64 = 3600;

/// Longest part of an answer without JSON that is shown.
const MAX_TEXT_BYTES: usize = 64 << 10;

/// Calls that only ask, which GET is for too.
const QUESTIONS: [&str; 7] = [
    "/is_sleeping",
    "/is_paused",
    "/is_scaling_elastic_ep",
    "/get_world_size",
    "/props",
    "/slots",
    "/lora-adapters",
];

/// What calls begin with after which an engine's cache is empty.
const EMPTYING: [&str; 5] =
    ["/flush_cache", "/reset_prefix_cache", "/sleep", "/release_memory_occupation", "/update_weights"];

/// The endpoints: each call under its own path, and any path below `/v1/fanout`.
pub(crate) fn routes(backends: Arc<Backends>) -> Router {
    let call = |router: Router<Arc<Backends>>, path: &&'static str| {
        let both = if QUESTIONS.contains(path) { get(fan_out).post(fan_out) } else { post(fan_out) };
        router.route(path, both)
    };
    let others = ENGINE_CALLS.iter().filter(|path| **path != "/flush_cache");
    let named = others.fold(Router::new().route("/flush_cache", post(fan_out)), call);
    named.route("/v1/fanout/{*path}", post(fan_out_any)).with_state(backends)
}

/// Which workers, and for how long each; the rest of the query is the engine's.
struct FanOutQuery {
    workers: Vec<String>,
    limit: Duration,
    rest: String,
}

impl FanOutQuery {
    fn read(query: Option<&str>) -> Result<Self, Problem> {
        let mut read = Self { workers: Vec::new(), limit: DEFAULT_LIMIT, rest: String::new() };
        let mut rest = form_urlencoded::Serializer::new(String::new());
        for (name, value) in form_urlencoded::parse(query.unwrap_or_default().as_bytes()) {
            match &*name {
                "worker" => read.workers.push(value.into_owned()),
                "timeout_secs" => {
                    let secs = value.parse().ok().filter(|secs| (1..=MAX_LIMIT_SECS).contains(secs));
                    let secs = secs.ok_or_else(|| {
                        let found = shown(&value);
                        let detail = format!("timeout_secs: found {found:?}; allowed: 1 to {MAX_LIMIT_SECS}");
                        Problem::coded(StatusCode::BAD_REQUEST, "bad_query", detail)
                    })?;
                    read.limit = Duration::from_secs(secs);
                }
                _ => drop(rest.append_pair(&name, &value)),
            }
        }
        read.rest = rest.finish();
        Ok(read)
    }

    /// Those that are named, or all; one of each engine.
    fn targets(&self, backends: &Backends) -> Result<Vec<Arc<Target>>, Problem> {
        if self.workers.is_empty() {
            let snapshot = backends.snapshot();
            let first =
                snapshot.targets().iter().filter(|target| target.rank_number().is_none_or(|rank| rank == 0));
            return Ok(first.cloned().collect());
        }
        let named = self.workers.iter().map(|name| {
            let url = normal(&url_of(backends, name));
            backends.targets(&url).into_iter().next().ok_or_else(|| {
                let detail = format!("there is no worker {}; nothing was sent", WorkerUrl::refused(name));
                Problem::new(StatusCode::NOT_FOUND, detail)
            })
        });
        named.collect()
    }
}

/// Sends a call to workers that steers their engines
///
/// Each call has this endpoint under the path that engines know it by, such as `/flush_cache`, `/sleep`,
/// `/update_weights_from_disk`. `worker` (an id or a URL, more than once) and `timeout_secs` are the router's;
/// other parameters and the body go to each worker as they are.
#[utoipa::path(post, path = "/flush_cache", tag = "engines", params(
    ("worker" = Option<Vec<String>>, Query, description = "Ids or URLs of workers; all if it is left out"),
    ("timeout_secs" = Option<u64>, Query, description = "For each worker: 1 to 3600; default 60"),
), responses(
    (status = 200, description = "All workers did it", body = FanOutView),
    (status = 206, description = "Some did", body = FanOutView),
    (status = 502, description = "None did", body = FanOutView),
    (status = 404, description = "No such worker", body = Problem, content_type = "application/problem+json"),
))]
pub(crate) async fn fan_out(
    State(backends): State<Arc<Backends>>,
    request: Request,
) -> Result<(StatusCode, Extension<Changed>, Json<FanOutView>), Problem> {
    let path = request.uri().path().to_owned();
    send(&backends, &path, request).await
}

/// Sends any call to workers
#[utoipa::path(post, path = "/v1/fanout/{path}", tag = "engines", params(
    ("path" = String, Path, description = "The path at the workers"),
    ("worker" = Option<Vec<String>>, Query, description = "Ids or URLs of workers; all if it is left out"),
    ("timeout_secs" = Option<u64>, Query, description = "For each worker: 1 to 3600; default 60"),
), responses(
    (status = 200, description = "All workers did it", body = FanOutView),
    (status = 206, description = "Some did", body = FanOutView),
    (status = 502, description = "None did", body = FanOutView),
    (status = 404, description = "No such worker", body = Problem, content_type = "application/problem+json"),
))]
pub(crate) async fn fan_out_any(
    State(backends): State<Arc<Backends>>,
    Path(path): Path<String>,
    request: Request,
) -> Result<(StatusCode, Extension<Changed>, Json<FanOutView>), Problem> {
    send(&backends, &format!("/{path}"), request).await
}

async fn send(
    backends: &Backends,
    path: &str,
    request: Request,
) -> Result<(StatusCode, Extension<Changed>, Json<FanOutView>), Problem> {
    let (head, body) = request.into_parts();
    let query = FanOutQuery::read(head.uri.query())?;
    let targets = query.targets(backends)?;
    if targets.is_empty() {
        return Err(Problem::new(StatusCode::NOT_FOUND, "there are no workers; nothing was sent"));
    }
    let text = if query.rest.is_empty() { path.to_owned() } else { format!("{path}?{}", query.rest) };
    let uri: Uri = text.parse().map_err(|_| {
        Problem::coded(StatusCode::BAD_REQUEST, "bad_path", format!("{:?} is no path", shown(&text)))
    })?;
    let body = Bytes::from(bytes_of(&head, body, MAX_BODY_BYTES).await?);
    let question = FannedCall { headers: headers(&head.headers), method: head.method, uri, body };
    let view = told(ask(&targets, question, query.limit).await);
    if EMPTYING.iter().any(|call| path.starts_with(call)) {
        view.successful.iter().for_each(|url| backends.forget_prefixes(url));
    }
    let status = match view.failed.len() {
        0 => StatusCode::OK,
        failed if failed < view.total_workers => StatusCode::PARTIAL_CONTENT,
        _ => StatusCode::BAD_GATEWAY,
    };
    let changed = Changed(shown(&format!("{path}: {}", view.message)));
    Ok((status, Extension(changed), Json(view)))
}

/// What of an operator's headers concerns the engine.
fn headers(head: &HeaderMap) -> HeaderMap {
    let kept = [header::CONTENT_TYPE, header::ACCEPT];
    let kept = kept.into_iter().filter_map(|name| Some((name.clone(), head.get(name)?.clone())));
    kept.collect()
}

/// What each worker answered, in their order.
async fn ask(
    targets: &[Arc<Target>],
    question: FannedCall,
    limit: Duration,
) -> Vec<(FanOutAnswer, Option<String>)> {
    let (question, room) = (Arc::new(question), Arc::new(Semaphore::new(MAX_AT_A_TIME)));
    let mut asking = JoinSet::new();
    for (place, target) in targets.iter().enumerate() {
        let (question, room) = (Arc::clone(&question), Arc::clone(&room));
        let endpoint = Arc::clone(target.endpoint());
        asking.spawn(async move {
            // Nobody closes it.
            let _permit = room.acquire().await;
            let since = Instant::now();
            let answer = question.ask(&endpoint, limit).await;
            let took = since.elapsed().as_millis();
            (place, answered(&endpoint.url().to_string(), answer, u64::try_from(took).unwrap_or(u64::MAX)))
        });
    }
    let mut answers = asking.join_all().await;
    answers.sort_by_key(|(place, _)| *place);
    answers.into_iter().map(|(_, answer)| answer).collect()
}

/// An answer, and why it is a failure, if it is one.
fn answered(
    url: &str,
    answer: Result<(StatusCode, Vec<u8>), NoAnswer>,
    took_ms: u64,
) -> (FanOutAnswer, Option<String>) {
    let told = |status: Option<StatusCode>, body| FanOutAnswer {
        id: id_of(url),
        url: url.to_owned(),
        status: status.map(|status| status.as_u16()),
        body,
        took_ms,
    };
    match answer {
        Ok((status, body)) => {
            let error = (!status.is_success()).then(|| format!("it answered {}", status.as_u16()));
            let body = serde_json::from_slice(&body).unwrap_or_else(|_| {
                let text = body.get(..MAX_TEXT_BYTES).unwrap_or(&body);
                Value::String(String::from_utf8_lossy(text).into_owned())
            });
            (told(Some(status), body), error)
        }
        Err(why) => {
            let error = match why {
                NoAnswer::Unreachable => "it cannot be reached, or closed the connection without an answer",
                NoAnswer::Timeout => "it did not answer in time; it may do it all the same",
                NoAnswer::Unusable => "its answer broke off, or is too large; it may have done it",
            };
            (told(None, Value::Null), Some(error.to_owned()))
        }
    }
}

fn told(answers: Vec<(FanOutAnswer, Option<String>)>) -> FanOutView {
    let total_workers = answers.len();
    let (mut successful, mut failed) = (Vec::new(), Vec::new());
    for (answer, error) in &answers {
        match error {
            None => successful.push(answer.url.clone()),
            Some(error) => failed.push(FanOutFailure { worker: answer.url.clone(), error: error.clone() }),
        }
    }
    let status = match (successful.len(), failed.len()) {
        (_, 0) => "success",
        (0, _) => "failure",
        _ => "partial_success",
    };
    FanOutView {
        status: status.to_owned(),
        message: format!("{} of {total_workers} workers did it", successful.len()),
        successful,
        failed,
        total_workers,
        workers: answers.into_iter().map(|(answer, _)| answer).collect(),
    }
}
