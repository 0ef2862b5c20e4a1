//! What browsers are told of web pages of other places (CORS, <https://fetch.spec.whatwg.org/#http-cors-protocol>).

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};

use crate::config::cors::AllowedOrigins;
use crate::proxy::proxy_error::{ProxyError, listed};

/// What begins the names of headers about this.
const PREFIX: &str = "access-control-";

/// How long a browser may remember what it was told; browsers have limits of their own.
const MAX_AGE: HeaderValue = HeaderValue::from_static("86400");

const ANY: HeaderValue = HeaderValue::from_static("*");

/// What the answer says about the page that asked: `None` if none asked, or it may not read the answer.
pub(crate) fn allowed(origins: &AllowedOrigins, headers: &HeaderMap) -> Option<HeaderValue> {
    let origin = headers.get(header::ORIGIN)?;
    if origins.any {
        return Some(ANY);
    }
    origins.origins.iter().find(|known| *known == origin).cloned()
}

/// True if a browser asks beforehand whether a page may send a request.
pub(crate) fn is_preflight<B>(request: &Request<B>) -> bool {
    *request.method() == Method::OPTIONS
        && request.headers().contains_key(header::ORIGIN)
        && request.headers().contains_key(header::ACCESS_CONTROL_REQUEST_METHOD)
}

/// The answer to that; `methods` are those of the endpoint.
pub(crate) fn preflight(
    allowed: Option<HeaderValue>,
    methods: &[Method],
    headers: &HeaderMap,
) -> Response<Bytes> {
    let Some(allowed) = allowed else { return ProxyError::OriginNotAllowed.response(None) };
    let mut response = Response::new(Bytes::new());
    *response.status_mut() = StatusCode::NO_CONTENT;
    let told = response.headers_mut();
    tell(Some(allowed), told);
    let methods = HeaderValue::from_str(&listed(methods)).unwrap_or(ANY);
    told.insert(header::ACCESS_CONTROL_ALLOW_METHODS, methods);
    // `*` would leave out `authorization`.
    let asked = headers.get(header::ACCESS_CONTROL_REQUEST_HEADERS).cloned();
    told.extend(asked.map(|asked| (header::ACCESS_CONTROL_ALLOW_HEADERS, asked)));
    told.insert(header::ACCESS_CONTROL_MAX_AGE, MAX_AGE);
    response
}

/// Says in an answer that the page may read it, in place of what a worker says.
pub(crate) fn tell(allowed: Option<HeaderValue>, headers: &mut HeaderMap) {
    while let Some(name) = headers.keys().find(|name| name.as_str().starts_with(PREFIX)).cloned() {
        headers.remove(name);
    }
    headers.append(header::VARY, HeaderValue::from_static("origin"));
    let Some(allowed) = allowed else { return };
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, allowed);
    headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, ANY);
}
