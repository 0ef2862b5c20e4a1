//! HTTP responses: their bodies and headers.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderName, HeaderValue, Response, StatusCode};
use http_body_util::Full;
use hyper::body::{Body, Frame, SizeHint};
use serde_json::Value;

use crate::sim::dialect::Dialect;
use crate::sim::error::ApiError;
use crate::sim::late_stream::LateStream;
use crate::sim::stream::TokenStream;

/// Who answered.
pub(crate) const WORKER_HEADER: HeaderName = HeaderName::from_static("x-sim-worker");
/// The request's `bootstrap_room`.
pub(crate) const ROOM_HEADER: HeaderName = HeaderName::from_static("x-sim-bootstrap-room");
/// The prefill worker that the request's KV cache came from.
pub(crate) const SOURCE_HEADER: HeaderName = HeaderName::from_static("x-sim-kv-source");

const JSON: HeaderValue = HeaderValue::from_static("application/json");
const EVENTS: HeaderValue = HeaderValue::from_static("text/event-stream; charset=utf-8");
const NO_CACHE: HeaderValue = HeaderValue::from_static("no-cache");

/// A response's body.
#[derive(Debug)]
pub(crate) enum ReplyBody {
    /// Known whole.
    Full(Full<Bytes>),
    /// Made token by token.
    Stream(Box<TokenStream>),
    /// The same, of a request that may have to wait or be refused.
    Late(LateStream),
}

impl Body for ReplyBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match self.get_mut() {
            Self::Full(body) => Pin::new(body).poll_frame(cx),
            Self::Stream(body) => Pin::new(body.as_mut()).poll_frame(cx),
            Self::Late(body) => Pin::new(body).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Full(body) => body.is_end_stream(),
            Self::Stream(body) => body.is_end_stream(),
            Self::Late(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Full(body) => body.size_hint(),
            Self::Stream(body) => body.size_hint(),
            Self::Late(body) => body.size_hint(),
        }
    }
}

/// A response of this server.
pub(crate) type SimResponse = Response<ReplyBody>;

/// A response without a body.
pub(crate) fn empty(status: StatusCode) -> SimResponse {
    let mut reply = Response::new(ReplyBody::Full(Full::default()));
    *reply.status_mut() = status;
    reply
}

/// A response with a content type.
pub(crate) fn typed(content_type: HeaderValue, body: Bytes) -> SimResponse {
    let mut reply = Response::new(ReplyBody::Full(Full::new(body)));
    reply.headers_mut().insert(CONTENT_TYPE, content_type);
    reply
}

/// JSON that is written already.
pub(crate) fn json_bytes(body: Bytes) -> SimResponse {
    typed(JSON, body)
}

/// JSON.
pub(crate) fn json(value: &Value) -> SimResponse {
    json_bytes(Bytes::from(value.to_string()))
}

/// Server-sent events.
pub(crate) fn events(stream: TokenStream) -> SimResponse {
    event_stream(ReplyBody::Stream(Box::new(stream)))
}

/// Server-sent events whose head is sent before it is known whether there will be any.
pub(crate) fn late_events(stream: LateStream) -> SimResponse {
    event_stream(ReplyBody::Late(stream))
}

/// Server-sent events that are known whole.
pub(crate) fn whole_events(events: Bytes) -> SimResponse {
    event_stream(ReplyBody::Full(Full::new(events)))
}

fn event_stream(body: ReplyBody) -> SimResponse {
    let mut reply = Response::new(body);
    reply.headers_mut().insert(CONTENT_TYPE, EVENTS);
    reply.headers_mut().insert(CACHE_CONTROL, NO_CACHE);
    reply
}

/// An error as an engine tells it.
pub(crate) fn error_in(dialect: Dialect, error: &ApiError) -> SimResponse {
    let mut reply = json(&error.in_dialect(dialect));
    *reply.status_mut() = match error.status {
        StatusCode::METHOD_NOT_ALLOWED if dialect == Dialect::LlamaCpp => StatusCode::NOT_FOUND,
        status => status,
    };
    reply
}

/// An error; 503 says when to try again.
pub(crate) fn error(error: &ApiError) -> SimResponse {
    let mut reply = json_bytes(Bytes::from(error.to_json()));
    *reply.status_mut() = error.status;
    if error.status == StatusCode::SERVICE_UNAVAILABLE {
        reply.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
    }
    reply
}
