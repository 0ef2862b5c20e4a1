//! What all engines tell Prometheus, in one page, for who scrapes the router only.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::admin::exposition_page::ExpositionPage;
use crate::proxy::Backends;
use crate::proxy::fanned_call::FannedCall;
use crate::proxy::own_questions::NoAnswer;
use crate::proxy::target::Target;
use sgl_api::Problem;

/// How long an engine may take.
const LIMIT: Duration = Duration::from_secs(5);

/// Workers that are asked at a time.
const MAX_AT_A_TIME: usize = 32;

/// Prometheus' text format, which all engines have.
const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The endpoint.
pub(crate) fn routes(backends: Arc<Backends>) -> Router {
    Router::new().route("/engine_metrics", get(show)).with_state(backends)
}

/// What all engines tell Prometheus
///
/// Each is asked for its `/metrics`, for five seconds at most; its samples have the label `worker_addr`, the
/// worker's URL. A line of comment says which ones told nothing.
#[utoipa::path(get, path = "/engine_metrics", tag = "engines", responses(
    (status = 200, description = "Prometheus' text format", body = String, content_type = "text/plain"),
    (status = 502, description = "No worker told anything", body = Problem, content_type = "application/problem+json"),
))]
pub(crate) async fn show(State(backends): State<Arc<Backends>>) -> Result<Response, Problem> {
    let told = ask_all(&backends).await;
    let (asked, mut answered) = (told.len(), 0);
    let mut page = ExpositionPage::default();
    for (worker, text) in told {
        match text {
            Ok(text) => {
                answered += 1;
                page.add(&worker, &text);
            }
            Err(fault) => page.add_fault(&worker, &fault),
        }
    }
    if asked > 0 && answered == 0 {
        let detail = format!("none of {asked} workers told its metrics:\n{}", page.text());
        return Err(Problem::new(StatusCode::BAD_GATEWAY, detail));
    }
    Ok(([(header::CONTENT_TYPE, TEXT)], page.text()).into_response())
}

/// What each worker told, or why it did not, in their order.
async fn ask_all(backends: &Backends) -> Vec<(String, Result<String, String>)> {
    let mut headers = HeaderMap::new();
    headers.insert(header::ACCEPT, HeaderValue::from_static(TEXT));
    let uri = Uri::from_static("/metrics");
    let question = Arc::new(FannedCall { method: Method::GET, uri, headers, body: Bytes::new() });
    let room = Arc::new(Semaphore::new(MAX_AT_A_TIME));
    let mut asking = JoinSet::new();
    for (place, target) in engines(backends).into_iter().enumerate() {
        let (question, room) = (Arc::clone(&question), Arc::clone(&room));
        let endpoint = Arc::clone(target.endpoint());
        asking.spawn(async move {
            // Nobody closes it.
            let _permit = room.acquire().await;
            (place, endpoint.url().to_string(), text_of(question.ask(&endpoint, LIMIT).await))
        });
    }
    let mut told = asking.join_all().await;
    told.sort_by_key(|(place, ..)| *place);
    told.into_iter().map(|(_, worker, text)| (worker, text)).collect()
}

/// One of each, whatever ranks it has.
fn engines(backends: &Backends) -> Vec<Arc<Target>> {
    let snapshot = backends.snapshot();
    let first = snapshot.targets().iter().filter(|target| target.rank_number().is_none_or(|rank| rank == 0));
    first.cloned().collect()
}

fn text_of(answer: Result<(StatusCode, Vec<u8>), NoAnswer>) -> Result<String, String> {
    match answer {
        Ok((status, body)) if status.is_success() => Ok(String::from_utf8_lossy(&body).into_owned()),
        Ok((status, _)) => Err(format!("it answered {}", status.as_u16())),
        Err(NoAnswer::Unreachable) => Err("it cannot be reached".to_owned()),
        Err(NoAnswer::Timeout) => Err(format!("it did not answer in {} s", LIMIT.as_secs())),
        Err(NoAnswer::Unusable) => Err("its answer broke off, or is too large".to_owned()),
    }
}
