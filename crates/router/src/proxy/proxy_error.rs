//! The one place where an error becomes an HTTP answer: the error JSON of the client's API, with a code
//! that stays.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Method, Response, StatusCode, header};

use crate::proxy::client_keys::{KeyLimit, KeyRefusal};
use crate::proxy::error_body::ToldError;
use crate::proxy::model_index::UnknownModel;
use crate::proxy::path_hint::where_else;
use crate::proxy::pressure::NoRoom;
use crate::proxy::queue::register::NoPlace;
use crate::proxy::route::Route;
use crate::proxy::sessions::NoSession;
use crate::proxy::short_answer::json;
use crate::proxy::shortage::Shortage;
use sglang_router_rs::policies::FailureCause;

/// Seconds after which a client may try again when no worker is there.
const RETRY_AFTER: HeaderValue = HeaderValue::from_static("1");

/// Proxies that a request may have come through, by `x-forwarded-for`. Each router adds one, so a ring of routers
/// ends here; chains of proxies that are meant are much shorter.
pub(crate) const MAX_HOPS: usize = 20;

/// Headers of a request at most: hyper takes no more than 100, and says so without a word.
pub(crate) const MAX_HEADERS: usize = 96;

/// Bytes of their names and values together.
pub(crate) const MAX_HEADER_BYTES: usize = 64 << 10;

/// Why a request is not answered by a worker.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum ProxyError {
    /// No endpoint has this path.
    #[error("there is no endpoint {path}{}", where_else(path))]
    NotFound {
        /// The path.
        path: String,
    },
    /// The endpoint takes another method.
    #[error("this endpoint takes {}", listed(allowed))]
    MethodNotAllowed {
        /// The methods that it takes.
        allowed: &'static [Method],
    },
    /// The headers are too many, or too large.
    #[error(
        "the request has {count} headers of {bytes} bytes; allowed are {MAX_HEADERS} of {MAX_HEADER_BYTES} bytes"
    )]
    TooManyHeaders {
        /// How many there are.
        count: usize,
        /// Bytes of their names and values.
        bytes: usize,
    },
    /// The web page may not read answers.
    #[error("web pages of this origin may not send requests here (calls.cors_allowed_origins)")]
    OriginNotAllowed,
    /// The client expects what nobody knows of.
    #[error("the header `expect` asks for something else than 100-continue; leave it out")]
    UnknownExpectation,
    /// It came through more proxies than there are: it goes round in a ring.
    #[error(
        "the request came through {hops} proxies (x-forwarded-for), at most {MAX_HOPS} are allowed: a worker of this \
         router is a router that sends to this one"
    )]
    Loop {
        /// How many.
        hops: usize,
    },
    /// The body is too large.
    #[error("the request body is larger than {limit} bytes")]
    TooLarge {
        /// The limit.
        limit: u64,
    },
    /// The body did not arrive.
    #[error("the request body broke off")]
    BrokenBody,
    /// The body did not arrive in time.
    #[error("the request body did not arrive in time")]
    SlowBody,
    /// The body is not what the endpoint takes.
    #[error("the request body is not valid: {reason}")]
    InvalidBody {
        /// What is wrong with it.
        reason: String,
    },
    /// No session is named that could be over.
    #[error("{0}")]
    NoSession(NoSession),
    /// No worker serves the model.
    #[error("no worker serves the model that the request names")]
    UnknownModel,
    /// No worker may be chosen now.
    #[error("no worker is available: {0}")]
    NoWorker(Shortage),
    /// The policy failed and is set to reject.
    #[error("the routing policy failed ({cause})")]
    PolicyFailed {
        /// What failed.
        cause: FailureCause,
    },
    /// The request shows no key, or one that nobody has.
    #[error("{}", no_key(*is_shown))]
    Unauthorized {
        /// Whether it shows one.
        is_shown: bool,
    },
    /// The key's limit is reached.
    #[error("the limit {} of the key is reached; try again later", limit.as_str())]
    KeyLimited {
        /// Which limit.
        limit: KeyLimit,
        /// After how long the client may try again.
        retry_after: Duration,
    },
    /// As many are served as may be, and as many wait.
    #[error("too many requests wait for their turn; try again soon")]
    QueueFull,
    /// The request waited for its turn for too long.
    #[error("the request waited too long for its turn; try again soon")]
    QueueTimeout,
    /// The policy refuses the request.
    #[error("the routing policy refuses the request for now; try again later")]
    Shed {
        /// After how long the client may try again.
        retry_after: Duration,
    },
    /// The router stops, and what still waits is not served.
    #[error("the router is stopping; try again")]
    Stopping,
    /// No worker could be connected to.
    #[error("the worker could not be reached")]
    ConnectFailed,
    /// The bodies of all requests together would be too large.
    #[error("the bodies of all requests together would be larger than {limit} bytes; try again soon")]
    OutOfMemory {
        /// The limit.
        limit: u64,
    },
    /// No connection to a worker could be made, for want of something of the router's own.
    #[error("the router has no descriptor or port left to connect to a worker; try again soon")]
    OutOfResources,
    /// The worker gave no answer.
    #[error("the worker closed the connection, or ended a stream of events, without an answer")]
    BrokenAnswer,
    /// The worker's answer is none to this request.
    #[error("{reason}")]
    InvalidAnswer {
        /// What is wrong with it.
        reason: String,
    },
    /// The prefill half of a pair failed.
    #[error("the prefill worker failed")]
    PrefillFailed,
    /// The worker gave no answer in time.
    #[error("the worker did not answer in time")]
    Timeout,
}

/// The code of the error that a stream began with. The client gets the stream as the worker sent
/// it, with the worker's status; in metrics and records the request counts by this code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ToldStatus(pub u16);

/// The code of an error of the router's own, among the extensions of the answer where somebody wants to know.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OwnError(pub &'static str);

impl From<KeyRefusal> for ProxyError {
    fn from(refusal: KeyRefusal) -> Self {
        match refusal {
            KeyRefusal::None => Self::Unauthorized { is_shown: false },
            KeyRefusal::Unknown => Self::Unauthorized { is_shown: true },
            KeyRefusal::Limit { limit, retry_after } => Self::KeyLimited { limit, retry_after },
        }
    }
}

impl From<NoRoom> for ProxyError {
    fn from(NoRoom { limit }: NoRoom) -> Self {
        Self::OutOfMemory { limit }
    }
}

impl From<NoPlace> for ProxyError {
    fn from(_: NoPlace) -> Self {
        Self::QueueFull
    }
}

impl From<UnknownModel> for ProxyError {
    fn from(_: UnknownModel) -> Self {
        Self::UnknownModel
    }
}

impl ProxyError {
    /// The status.
    pub(crate) fn status(&self) -> StatusCode {
        match self {
            Self::NotFound { .. } | Self::UnknownModel => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed { .. } => StatusCode::METHOD_NOT_ALLOWED,
            Self::TooManyHeaders { .. } => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Self::OriginNotAllowed => StatusCode::FORBIDDEN,
            Self::UnknownExpectation => StatusCode::EXPECTATION_FAILED,
            Self::Loop { .. } => StatusCode::LOOP_DETECTED,
            Self::TooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            Self::BrokenBody | Self::InvalidBody { .. } | Self::NoSession(_) => StatusCode::BAD_REQUEST,
            Self::SlowBody => StatusCode::REQUEST_TIMEOUT,
            Self::NoWorker(_) | Self::PolicyFailed { .. } => StatusCode::SERVICE_UNAVAILABLE,
            Self::OutOfMemory { .. } | Self::OutOfResources => StatusCode::SERVICE_UNAVAILABLE,
            Self::QueueTimeout | Self::Stopping => StatusCode::SERVICE_UNAVAILABLE,
            Self::QueueFull | Self::Shed { .. } | Self::KeyLimited { .. } => StatusCode::TOO_MANY_REQUESTS,
            Self::Unauthorized { .. } => StatusCode::UNAUTHORIZED,
            Self::ConnectFailed | Self::BrokenAnswer | Self::InvalidAnswer { .. } | Self::PrefillFailed => {
                StatusCode::BAD_GATEWAY
            }
            Self::Timeout => StatusCode::GATEWAY_TIMEOUT,
        }
    }

    /// The code, for programs.
    pub(crate) fn code(&self) -> &'static str {
        match self {
            Self::NotFound { .. } => "not_found",
            Self::MethodNotAllowed { .. } => "method_not_allowed",
            Self::TooManyHeaders { .. } => "headers_too_large",
            Self::OriginNotAllowed => "origin_not_allowed",
            Self::UnknownExpectation => "expectation_failed",
            Self::Loop { .. } => "loop_detected",
            Self::TooLarge { .. } => "request_too_large",
            Self::BrokenBody => "request_incomplete",
            Self::SlowBody => "request_timeout",
            Self::InvalidBody { .. } => "invalid_body",
            Self::NoSession(_) => "no_session",
            Self::UnknownModel => "model_not_found",
            Self::NoWorker(_) => "no_worker_available",
            Self::PolicyFailed { .. } => "policy_failed",
            Self::OutOfMemory { .. } => "router_out_of_memory",
            Self::OutOfResources => "router_out_of_resources",
            Self::QueueFull => "queue_full",
            Self::Shed { .. } => "request_shed",
            Self::Unauthorized { .. } => "invalid_api_key",
            Self::KeyLimited { .. } => "rate_limit_exceeded",
            Self::QueueTimeout => "queue_timeout",
            Self::Stopping => "router_stopping",
            Self::ConnectFailed => "upstream_connect_failed",
            Self::BrokenAnswer => "upstream_closed",
            Self::InvalidAnswer { .. } => "upstream_invalid_answer",
            Self::PrefillFailed => "upstream_prefill_failed",
            Self::Timeout => "upstream_timeout",
        }
    }

    /// Why no worker is available, if that is the error.
    pub(crate) fn shortage(&self) -> Option<Shortage> {
        match self {
            Self::NoWorker(shortage) => Some(*shortage),
            _ => None,
        }
    }

    /// The answer, in the form of the endpoint that was asked.
    pub(crate) fn response(&self, route: Option<Route>) -> Response<Bytes> {
        let status = self.status();
        let told = ToldError {
            status,
            message: &self.to_string(),
            param: matches!(self, Self::UnknownModel).then_some("model"),
            code: self.code(),
            reason: self.shortage().map(Shortage::as_str),
        };
        let mut response = json(status, told.body(route));
        let headers = response.headers_mut();
        match self {
            Self::OutOfMemory { .. } => {
                headers.insert(header::RETRY_AFTER, RETRY_AFTER);
                headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
            }
            Self::NoWorker(_)
            | Self::PolicyFailed { .. }
            | Self::OutOfResources
            | Self::QueueFull
            | Self::QueueTimeout
            | Self::Stopping => {
                headers.insert(header::RETRY_AFTER, RETRY_AFTER);
            }
            Self::Unauthorized { .. } => {
                headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
                headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
            }
            Self::KeyLimited { retry_after, .. } | Self::Shed { retry_after } => {
                headers.insert(header::RETRY_AFTER, seconds(*retry_after));
            }
            Self::MethodNotAllowed { allowed } => {
                let allowed = HeaderValue::from_str(&listed(allowed));
                headers.extend(allowed.into_iter().map(|allowed| (header::ALLOW, allowed)));
            }
            // The rest of the body is not read, so the connection cannot be used again.
            Self::TooLarge { .. } | Self::BrokenBody | Self::SlowBody | Self::TooManyHeaders { .. } => {
                headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
            }
            _ => {}
        }
        response
    }
}

/// Why a request without a known key is refused.
fn no_key(is_shown: bool) -> &'static str {
    if is_shown {
        return "the key that the request shows is not known";
    }
    "the request shows no key; send one as `authorization: Bearer …` or `x-api-key`"
}

/// Methods, as the header `allow` has them.
pub(crate) fn listed(methods: &[Method]) -> String {
    methods.iter().map(Method::as_str).collect::<Vec<_>>().join(", ")
}

/// Whole seconds, one at least and a day at most.
fn seconds(time: Duration) -> HeaderValue {
    let seconds = time.as_millis().div_ceil(1000).clamp(1, 86_400);
    HeaderValue::from(u32::try_from(seconds).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(response: &Response<Bytes>) -> serde_json::Value {
        serde_json::from_slice(response.body()).unwrap()
    }

    #[test]
    fn error_has_the_form_of_the_api_that_was_asked() {
        let nobody = ProxyError::NoWorker(Shortage::NoneHealthy);
        for (error, kind) in [
            (ProxyError::Unauthorized { is_shown: true }, "authentication_error"),
            (ProxyError::TooLarge { limit: 7 }, "request_too_large"),
            (ProxyError::QueueFull, "rate_limit_error"),
            (ProxyError::UnknownModel, "not_found_error"),
            (ProxyError::SlowBody, "invalid_request_error"),
            (ProxyError::ConnectFailed, "api_error"),
            (ProxyError::Timeout, "timeout_error"),
            (nobody.clone(), "overloaded_error"),
        ] {
            for route in [Route::Messages, Route::CountTokens] {
                let told = body(&error.response(Some(route)));
                assert_eq!((&told["type"], &told["error"]["type"]), (&"error".into(), &kind.into()));
                assert_eq!(told["error"]["message"], error.to_string());
                assert_eq!(told["error"]["code"], error.code());
            }
        }
        assert_eq!(body(&nobody.response(Some(Route::Messages)))["error"]["reason"], "none_healthy");
        assert_eq!(body(&nobody.response(Some(Route::Responses)))["error"]["type"], "server_error");
    }

    #[test]
    fn error_is_openai_json_with_a_code() {
        let response = ProxyError::UnknownModel.response(None);
        assert_eq!(response.status(), StatusCode::NOT_FOUND);
        let body: serde_json::Value = serde_json::from_slice(response.body()).unwrap();
        let expected = serde_json::json!({"error": {
            "message": "no worker serves the model that the request names",
            "type": "invalid_request_error",
            "param": "model",
            "code": "model_not_found",
        }});
        assert_eq!(body, expected);
    }

    #[test]
    fn absent_workers_tell_when_to_come_back_and_wrong_methods_which_is_right() {
        let nobody = ProxyError::NoWorker(Shortage::NoneHealthy).response(Some(Route::Chat));
        assert_eq!(nobody.headers()[header::RETRY_AFTER], "1");
        let body: serde_json::Value = serde_json::from_slice(nobody.body()).unwrap();
        assert_eq!(
            (&body["error"]["code"], &body["error"]["reason"]),
            (&"no_worker_available".into(), &"none_healthy".into())
        );
        let refused =
            ProxyError::MethodNotAllowed { allowed: Route::StoredResponse.methods() }.response(None);
        assert_eq!(refused.headers()[header::ALLOW], "GET, DELETE");
    }
}
