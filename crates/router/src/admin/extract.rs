//! Reads the path and the query of a request; what it cannot read is a problem.

use axum::extract::rejection::QueryRejection;
use axum::extract::{FromRequestParts, Path, Query};
use http::request::Parts;
use http::{Method, StatusCode, Uri};
use serde::de::DeserializeOwned;

use crate::config::near_names::nearest_first;
use sgl_api::Problem;
use sglang_router_rs::types::shown;

/// The query.
#[derive(Clone, Copy, Debug)]
pub(crate) struct InQuery<T>(pub(crate) T);

/// What the path holds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct InPath<T>(pub(crate) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for InQuery<T> {
    type Rejection = Problem;

    async fn from_request_parts(head: &mut Parts, state: &S) -> Result<Self, Problem> {
        let read = Query::from_request_parts(head, state).await;
        let told = |error: QueryRejection| nearest_first(&error.body_text());
        read.map(|Query(query)| Self(query)).map_err(|error| bad("bad_query", &told(error)))
    }
}

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for InPath<T> {
    type Rejection = Problem;

    async fn from_request_parts(head: &mut Parts, state: &S) -> Result<Self, Problem> {
        let read = Path::from_request_parts(head, state).await;
        read.map(|Path(path)| Self(path)).map_err(|error| bad("bad_path", &error.body_text()))
    }
}

fn bad(code: &str, reason: &str) -> Problem {
    Problem::coded(StatusCode::BAD_REQUEST, code, shown(reason))
}

/// The answer if nothing is at a path.
pub(crate) async fn no_such_path(method: Method, uri: Uri) -> Problem {
    let asked = shown(&format!("{method} {}", uri.path()));
    let detail =
        format!("there is no {asked} on the operators' listener; GET /v1/openapi.json lists what there is");
    Problem::new(StatusCode::NOT_FOUND, detail)
}

/// The answer to a method that a path does not know.
pub(crate) async fn no_such_method(method: Method, uri: Uri) -> Problem {
    let asked = shown(&format!("{method} {}", uri.path()));
    let detail =
        format!("there is no {asked}; the header `allow` and GET /v1/openapi.json say what there is");
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, detail)
}
