//! One request and its answer, of which nothing is read that exceeds its limits.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode, header};
use sgl_upstream::{Address, AnswerBody, HttpVersion, Payload, UpstreamConnection, UpstreamError, WorkerTls};
use tokio::time::Instant;

use crate::plain_http::PlainHttp;
use crate::registry_error::RegistryError;
use crate::registry_url::RegistryUrl;

/// For a new connection; each request has one.
const CONNECT_LIMIT: Duration = Duration::from_secs(10);

/// How many places a registry may send to, one after another.
const MAX_REDIRECTS: usize = 5;

/// The most that is read of an answer that is an error.
const MAX_ERROR_BYTES: u64 = 64 << 10;

/// A request to send.
#[derive(Clone, Debug)]
pub(crate) struct RegistryRequest {
    /// What it asks for, for people.
    pub(crate) what: String,
    pub(crate) method: Method,
    pub(crate) url: RegistryUrl,
    /// `accept`, or the media type of the body.
    pub(crate) media_type: String,
    pub(crate) body: Bytes,
    /// The most that may come.
    pub(crate) max_answer_bytes: u64,
}

impl RegistryRequest {
    /// A request without a body.
    pub(crate) fn get(what: impl Into<String>, url: RegistryUrl, accept: &str, limit: u64) -> Self {
        let (what, media_type, body) = (what.into(), accept.to_owned(), Bytes::new());
        Self { what, method: Method::GET, url, media_type, body, max_answer_bytes: limit }
    }
}

/// An answer.
#[derive(Debug)]
pub(crate) struct RegistryAnswer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl RegistryAnswer {
    /// A header, if it is text.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}

/// How requests are sent, and until when.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Exchange<'a> {
    pub(crate) tls: &'a Arc<WorkerTls>,
    pub(crate) plain: &'a PlainHttp,
    pub(crate) deadline: Instant,
    /// The time that the deadline is the end of.
    pub(crate) limit: Duration,
}

impl Exchange<'_> {
    /// Sends a request, also to where the registry sends it. What authorizes it goes to its host alone.
    ///
    /// # Errors
    ///
    /// [`RegistryError`], but none for a status.
    pub(crate) async fn send(
        &self,
        request: &RegistryRequest,
        authorization: Option<&str>,
    ) -> Result<RegistryAnswer, RegistryError> {
        let too_slow = |_| RegistryError::TooSlow { what: request.what.clone(), limit: self.limit };
        tokio::time::timeout_at(self.deadline, self.follow(request, authorization)).await.map_err(too_slow)?
    }

    async fn follow(
        &self,
        request: &RegistryRequest,
        authorization: Option<&str>,
    ) -> Result<RegistryAnswer, RegistryError> {
        let mut url = request.url.clone();
        for _ in 0..=MAX_REDIRECTS {
            let authorization = authorization.filter(|_| url.host == request.url.host);
            let answer = self.once(request, &url, authorization).await?;
            let is_redirect = answer.status.is_redirection() && answer.status != StatusCode::NOT_MODIFIED;
            if !is_redirect || !matches!(request.method, Method::GET | Method::HEAD) {
                return Ok(answer);
            }
            let location = answer.header("location").unwrap_or_default();
            url = url.follow(location, self.plain)?;
        }
        let reason = format!("it sends from place to place, more than {MAX_REDIRECTS} times");
        Err(RegistryError::Malformed { what: request.what.clone(), reason })
    }

    async fn once(
        &self,
        request: &RegistryRequest,
        url: &RegistryUrl,
        authorization: Option<&str>,
    ) -> Result<RegistryAnswer, RegistryError> {
        let sends = matches!(request.method, Method::PUT | Method::POST | Method::PATCH);
        let mut outgoing = Request::builder()
            .method(request.method.clone())
            .uri(&url.target)
            .header(header::HOST, url.host.authority())
            .header(header::USER_AGENT, concat!("sgl-router/", env!("CARGO_PKG_VERSION")))
            .header(if sends { header::CONTENT_TYPE } else { header::ACCEPT }, &request.media_type);
        if let Some(authorization) = authorization {
            outgoing = outgoing.header(header::AUTHORIZATION, authorization);
        }
        if sends {
            outgoing = outgoing.header(header::CONTENT_LENGTH, request.body.len());
        }
        let unsendable = |_| RegistryError::Malformed {
            what: request.what.clone(),
            reason: "a header or a URL that the registry or its credentials gave cannot be sent".to_owned(),
        };
        let outgoing = outgoing.body(Payload::from(request.body.clone())).map_err(unsendable)?;
        let unreachable = |error: UpstreamError| unreachable(url, &error);
        let address = Address::with(url.host.clone(), self.tls, HttpVersion::Http1);
        let connection = UpstreamConnection::open(&address, CONNECT_LIMIT).await.map_err(unreachable)?;
        let answer = connection.send(|| outgoing).await.map_err(unreachable)?;
        let (head, body) = answer.into_parts();
        let body = if request.method == Method::HEAD || head.status.is_redirection() {
            Bytes::new()
        } else {
            read(request, url, head.status, &head.headers, body).await?
        };
        Ok(RegistryAnswer { status: head.status, headers: head.headers, body })
    }
}

/// The body, within its limit; of an error its beginning.
async fn read(
    request: &RegistryRequest,
    url: &RegistryUrl,
    status: StatusCode,
    headers: &HeaderMap,
    mut body: AnswerBody,
) -> Result<Bytes, RegistryError> {
    let limit = if status.is_success() { request.max_answer_bytes } else { MAX_ERROR_BYTES };
    let too_large = |found| RegistryError::TooLarge { what: request.what.clone(), found, limit };
    let announced = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
    if status.is_success()
        && let Some(found) = announced.filter(|found| *found > limit)
    {
        return Err(too_large(found));
    }
    let mut whole = Vec::new();
    while let Some(frame) = std::future::poll_fn(|cx| body.poll_frame(cx)).await {
        let frame = frame.map_err(|error| RegistryError::Unreachable {
            url: url.to_string(),
            reason: format!("the answer broke off: {}", in_full(&error)),
        })?;
        let Ok(data) = frame.into_data() else { continue };
        let found = whole.len() as u64 + data.len() as u64;
        if found > limit {
            return if status.is_success() { Err(too_large(found)) } else { Ok(whole.into()) };
        }
        whole.extend_from_slice(&data);
    }
    Ok(whole.into())
}

fn unreachable(url: &RegistryUrl, error: &UpstreamError) -> RegistryError {
    let hint = match error {
        UpstreamError::Tls { .. } => {
            " (a registry without TLS: --plain-http, in a router's configuration `registry.plain_http`; an \
             authority of your own: --ca-cert-paths, `registry.ca_cert_paths`)"
        }
        _ => "",
    };
    RegistryError::Unreachable { url: url.to_string(), reason: format!("{}{hint}", in_full(error)) }
}

/// An error and its causes, in one line.
fn in_full(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
