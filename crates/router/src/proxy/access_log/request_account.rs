//! What there is to tell of a request when it is over.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use http::{HeaderValue, Method, Request, Uri, Version, header};

use crate::proxy::token_usage::TokenUsage;
use sgl_api::End;

/// What a client got if it hung up before its answer, as nginx writes it: no status that anybody sent.
pub(crate) const CLIENT_GONE: u16 = 499;

/// A request and what became of it.
#[derive(Debug)]
pub(crate) struct RequestAccount {
    /// When its head was read.
    pub(crate) started: Instant,
    pub(crate) time: SystemTime,
    /// The client's address.
    pub(crate) client: HeaderValue,
    pub(crate) method: Method,
    pub(crate) uri: Uri,
    pub(crate) version: Version,
    pub(crate) user_agent: Option<HeaderValue>,
    pub(crate) referer: Option<HeaderValue>,
    /// The trace that it belongs to.
    pub(crate) traceparent: Option<HeaderValue>,
    /// The name of the client's key.
    pub(crate) key: Option<Arc<str>>,
    /// The status that the client got.
    pub(crate) status: u16,
    /// The code of the error that a stream began with, whatever its status.
    pub(crate) told_status: Option<u16>,
    /// The code of the router's own error.
    pub(crate) error: Option<&'static str>,
    /// The id that the client was told, or has sent.
    pub(crate) request_id: Option<HeaderValue>,
    /// Whether the answer is a stream of events.
    pub(crate) is_stream: bool,
    /// Bytes of the answer's body.
    pub(crate) bytes: u64,
    /// To the first byte of the answer's body, and to the end.
    pub(crate) first_byte: Option<Duration>,
    pub(crate) duration: Duration,
    /// Who served it or, if nobody did, was asked for it last.
    pub(crate) worker: Option<HeaderValue>,
    /// What model it was for, as far as the router looked.
    pub(crate) model: Option<Arc<str>>,
    /// Tokens, as far as the answer told and somebody read.
    pub(crate) tokens: TokenUsage,
    /// How it ended.
    pub(crate) end: End,
}

impl RequestAccount {
    /// Of a request of this client that has no answer yet.
    pub(crate) fn begin(started: Instant, client: HeaderValue, request: &Request<impl Sized>) -> Self {
        Self {
            started,
            time: SystemTime::now(),
            client,
            method: request.method().clone(),
            uri: request.uri().clone(),
            version: request.version(),
            user_agent: request.headers().get(header::USER_AGENT).cloned(),
            referer: request.headers().get(header::REFERER).cloned(),
            traceparent: request.headers().get("traceparent").cloned(),
            key: None,
            status: CLIENT_GONE,
            told_status: None,
            error: None,
            request_id: request.headers().get("x-request-id").cloned(),
            is_stream: false,
            bytes: 0,
            first_byte: None,
            duration: Duration::ZERO,
            worker: None,
            model: None,
            tokens: TokenUsage::default(),
            end: End::ClientGone,
        }
    }
}
