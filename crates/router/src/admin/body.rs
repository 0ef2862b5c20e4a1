//! Bodies of operators' requests: of the right kind, of a bounded size, in a bounded time.

use axum::body::Body;
use http::request::Parts;
use http::{HeaderMap, StatusCode, header};
use http_body_util::LengthLimitError;

use crate::admin::connection::Connection;
use crate::manage::ManageError;
use sgl_api::Problem;
use sglang_router_rs::policies::{MAX_MODULE_BYTES, PluginError};
use sglang_router_rs::types::shown;

/// Largest body that only names things, in bytes.
pub(crate) const MAX_JSON_BYTES: usize = 1 << 20;

/// What a body contains.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BodyKind {
    /// JSON, merge patches included.
    Json,
    /// A module.
    Module,
}

impl BodyKind {
    /// The kind of body that the head states. Any web page may send bodies of other types to any
    /// address, but none of these two.
    ///
    /// # Errors
    ///
    /// 415 if it is none of `wanted`, which names them.
    pub(crate) fn of(headers: &HeaderMap, wanted: &[Self]) -> Result<Self, Problem> {
        let found = headers.get(header::CONTENT_TYPE).map(|kind| String::from_utf8_lossy(kind.as_bytes()));
        let essence = found.as_deref().unwrap_or_default().split(';').next().unwrap_or_default().trim();
        let kind = match essence.to_ascii_lowercase().as_str() {
            "application/json" | "application/merge-patch+json" => Some(Self::Json),
            "application/wasm" | "application/octet-stream" => Some(Self::Module),
            _ => None,
        };
        kind.filter(|kind| wanted.contains(kind)).ok_or_else(|| unsupported(found.as_deref(), wanted))
    }

    fn in_words(self) -> &'static str {
        match self {
            Self::Json => "`application/json` for JSON",
            Self::Module => "`application/wasm` for a module",
        }
    }
}

fn unsupported(found: Option<&str>, wanted: &[BodyKind]) -> Problem {
    let found = found.map_or("missing".to_owned(), |found| format!("{:?}", shown(found)));
    let wanted: Vec<&str> = wanted.iter().map(|kind| kind.in_words()).collect();
    let detail = format!("`content-type` is {found}; send {}", wanted.join(", or "));
    Problem::coded(StatusCode::UNSUPPORTED_MEDIA_TYPE, "wrong_content_type", detail)
}

/// Reads a body of at most `limit` bytes.
///
/// # Errors
///
/// 413 if it is larger, 408 if it does not arrive within the connection's limit, 400 if it ends
/// early.
///
/// # Cancel safety
///
/// Dropping the future ends the upload.
pub(crate) async fn bytes_of(head: &Parts, body: Body, limit: usize) -> Result<Vec<u8>, Problem> {
    let announced = head.headers.get(header::CONTENT_LENGTH);
    let announced: Option<usize> = announced.and_then(|size| size.to_str().ok()?.parse().ok());
    if let Some(bytes) = announced.filter(|bytes| *bytes > limit) {
        return Err(too_large(bytes, limit));
    }
    let whole = axum::body::to_bytes(body, limit);
    let read = match head.extensions.get::<Connection>() {
        Some(Connection { body_timeout, .. }) => {
            tokio::time::timeout(*body_timeout, whole).await.map_err(|_| {
                let detail = format!(
                    "the body did not arrive within {body_timeout:?} (admin.body_timeout_secs); send it faster"
                );
                Problem::coded(StatusCode::REQUEST_TIMEOUT, "body_too_slow", detail)
            })?
        }
        None => whole.await,
    };
    match read {
        Ok(bytes) => Ok(bytes.into()),
        Err(error) if is_length_limit(&error) => Err(too_large(limit + 1, limit)),
        Err(error) => {
            let detail = format!("the body ended early: {error}");
            Err(Problem::coded(StatusCode::BAD_REQUEST, "body_broken_off", detail))
        }
    }
}

fn too_large(bytes: usize, limit: usize) -> Problem {
    if limit == MAX_MODULE_BYTES {
        return ManageError::from(PluginError::TooLarge { bytes, limit }).into();
    }
    let detail = format!("the body has {bytes} bytes; the limit is {limit}");
    Problem::coded(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", detail)
}

fn is_length_limit(error: &axum::Error) -> bool {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if error.is::<LengthLimitError>() {
            return true;
        }
        cause = error.source();
    }
    false
}
