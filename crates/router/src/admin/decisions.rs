//! Records of decisions: the newest, or that of one request.

use std::sync::Arc;

use axum::extract::State;
use axum::routing::get;
use axum::{Json, Router};
use http::StatusCode;
use serde::Deserialize;

use crate::admin::extract::{InPath, InQuery};
use crate::records::Recorder;
use sgl_api::{DecisionList, Problem, RequestRecord};

type Recording = State<Option<Arc<Recorder>>>;

/// Records that are listed by default.
const DEFAULT_LIMIT: usize = 20;

/// How many are wanted.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ListLimit {
    limit: Option<usize>,
}

/// The endpoints of decision records.
pub fn routes(recorder: Option<Arc<Recorder>>) -> Router {
    Router::new()
        .route("/v1/decisions", get(list))
        .route("/v1/decisions/{request_id}", get(show))
        .with_state(recorder)
}

/// The newest records of decisions
#[utoipa::path(get, path = "/v1/decisions", tag = "decisions",
    params(("limit" = Option<usize>, Query, description = "How many at most; default 20")), responses(
    (status = 200, body = DecisionList),
    (status = 400, description = "Another query", body = Problem, content_type = "application/problem+json"),
    (status = 404, description = "Nothing is recorded", body = Problem, content_type = "application/problem+json"),
))]
pub(crate) async fn list(
    State(recorder): Recording,
    InQuery(query): InQuery<ListLimit>,
) -> Result<Json<DecisionList>, Problem> {
    let recorder = recorder.ok_or_else(off)?;
    let newest = recorder.newest(query.limit.unwrap_or(DEFAULT_LIMIT));
    Ok(Json(DecisionList { decisions: newest.iter().map(|record| (**record).clone()).collect() }))
}

/// What was known, chosen and came of one request
#[utoipa::path(get, path = "/v1/decisions/{request_id}", tag = "decisions",
    params(("request_id" = String, Path, description = "The client's x-request-id, or x-sgl-request-id of its answer")),
    responses(
    (status = 200, body = RequestRecord),
    (status = 404, description = "No such record", body = Problem, content_type = "application/problem+json"),
))]
pub(crate) async fn show(
    State(recorder): Recording,
    InPath(request_id): InPath<String>,
) -> Result<Json<RequestRecord>, Problem> {
    let recorder = recorder.ok_or_else(off)?;
    match recorder.find(&request_id) {
        Some(record) => Ok(Json((*record).clone())),
        None => Err(unknown(&request_id, &recorder)),
    }
}

fn off() -> Problem {
    let detail = "no decisions are recorded; start the router with --record-sample SHARE, or with \
                  --record-header for requests that ask for it with x-sgl-explain";
    Problem::coded(StatusCode::NOT_FOUND, "nothing_recorded", detail)
}

fn unknown(request_id: &str, recorder: &Recorder) -> Problem {
    let settings = recorder.settings();
    let asked = if settings.header { ", and those that ask with x-sgl-explain" } else { "" };
    let detail = format!(
        "no record of request {request_id:?}: a share of {} of the requests is recorded{asked}; the newest {} \
         are kept here, and a request is recorded when it has ended",
        settings.sample, settings.keep
    );
    Problem::coded(StatusCode::NOT_FOUND, "record_not_found", detail)
}
