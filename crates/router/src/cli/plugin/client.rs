//! The client of the operators' listener.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Method, Request, StatusCode, Uri, header};
use serde::de::DeserializeOwned;

use crate::cli::admin_args::AdminArgs;
use crate::cli::plugin::command_error::CommandError;
use sgl_api::{LOCAL_HEADER, Problem};
use sgl_upstream::{
    Address, AnswerBody, HttpVersion, Payload, UpstreamConnection, WorkerTls, WorkerTlsSettings, WorkerUrl,
};
use sglang_router_rs::types::shown_path;

/// For a new connection; each request has one.
const CONNECT_LIMIT: Duration = Duration::from_secs(10);

/// What the command line calls itself.
const AGENT: &str = concat!("sgl-router/", env!("CARGO_PKG_VERSION"));

const TOKEN_VARIABLE: &str = "SGL_ROUTER_ADMIN_TOKEN";

/// A client of one router.
#[derive(Debug)]
pub(crate) struct AdminClient {
    address: Address,
    /// What the paths of all requests begin with.
    prefix: String,
    url: String,
    token: Option<String>,
    /// Whether changes are meant for this router alone, though it is one of a fleet.
    is_local: bool,
}

/// A request to send.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    /// The method.
    pub method: Method,
    /// Path and query.
    pub path: String,
    /// Media type of the answer that is wanted.
    pub accept: &'static str,
    /// Further headers.
    pub headers: Vec<(&'static str, String)>,
    /// The body.
    pub body: Bytes,
}

impl Call {
    /// A request without a body.
    pub(crate) fn new(method: Method, path: impl Into<String>) -> Self {
        let headers = Vec::new();
        Self { method, path: path.into(), accept: "application/json", headers, body: Bytes::new() }
    }
}

impl AdminClient {
    /// A client as the flags say, with the token of the file, or else of the environment. Authorities as for
    /// [`at`](Self::at).
    ///
    /// # Errors
    ///
    /// [`CommandError::Usage`] if the URL is none or the token cannot be read.
    pub(crate) fn new(args: &AdminArgs) -> Result<Self, CommandError> {
        let token = match &args.admin_token_file {
            None => {
                std::env::var(TOKEN_VARIABLE).ok().map(|token| sendable(token, TOKEN_VARIABLE)).transpose()?
            }
            Some(file) => {
                let unreadable =
                    |error| CommandError::Usage(format!("--admin-token-file: {}: {error}", shown_path(file)));
                let token = std::fs::read_to_string(file).map_err(unreadable)?.trim().to_owned();
                Some(sendable(token, "--admin-token-file")?)
            }
        };
        Self::at(&args.admin_url, token, &args.ca_cert_paths)
    }

    /// A client of the router whose operators' listener is at `url`. If that is one of TLS, these authorities
    /// are trusted besides the system's.
    ///
    /// # Errors
    ///
    /// [`CommandError::Usage`] if the URL is none.
    pub(crate) fn at(
        url: &str,
        token: Option<String>,
        authorities: &[PathBuf],
    ) -> Result<Self, CommandError> {
        let url = url.trim_end_matches('/').to_owned();
        let parsed: Uri =
            url.parse().map_err(|error| CommandError::Usage(format!("--admin-url: {error}")))?;
        let scheme = parsed.scheme_str().unwrap_or_default();
        let authority = parsed.authority().map_or("", |authority| authority.as_str());
        let place = WorkerUrl::parse(&format!("{scheme}://{authority}")).map_err(|_| {
            let found = WorkerUrl::refused(&url);
            CommandError::Usage(format!(
                "--admin-url: found {found:?}; allowed: http://HOST:PORT or https://HOST:PORT"
            ))
        })?;
        let settings =
            WorkerTlsSettings { authorities: authorities.to_vec(), ..WorkerTlsSettings::default() };
        let tls = if authorities.is_empty() { Arc::default() } else { WorkerTls::new(settings) };
        if !authorities.is_empty() {
            tls.reload().map_err(|fault| CommandError::Usage(format!("--ca-cert-paths: {fault}")))?;
        }
        let address = Address::with(place, &tls, HttpVersion::Http1);
        let prefix = parsed.path().trim_end_matches('/').to_owned();
        Ok(Self { address, prefix, url, token, is_local: false })
    }

    /// The same; changes of a fleet's plugins are meant for this router alone if `is_local`.
    pub(crate) fn for_this_router_alone(self, is_local: bool) -> Self {
        Self { is_local, ..self }
    }

    /// Sends a request, and turns an answer that is an error into one.
    ///
    /// # Errors
    ///
    /// [`CommandError::Unreachable`], [`CommandError::Refused`], [`CommandError::Elsewhere`].
    ///
    /// # Cancel safety
    ///
    /// Dropping the future hangs up.
    pub(crate) async fn send(&self, call: Call) -> Result<AnswerBody, CommandError> {
        let mut request = Request::builder()
            .method(call.method)
            .uri(format!("{}{}", self.prefix, call.path))
            .header(header::HOST, self.address.url().authority())
            .header(header::USER_AGENT, AGENT)
            .header(header::ACCEPT, call.accept);
        if let Some(token) = &self.token {
            request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
        }
        if self.is_local {
            request = request.header(LOCAL_HEADER, "1");
        }
        for (name, value) in call.headers {
            request = request.header(name, value);
        }
        let request = request.body(Payload::from(call.body));
        let request = request.map_err(|error| CommandError::Usage(error.to_string()))?;
        let connection = UpstreamConnection::open(&self.address, CONNECT_LIMIT).await;
        let connection = connection.map_err(|error| self.unreachable(&error))?;
        let answer = connection.send(|| request).await.map_err(|error| self.unreachable(&error))?;
        let (head, body) = answer.into_parts();
        if head.status.is_success() {
            return Ok(body);
        }
        Err(self.refused(head.status, &self.whole(body).await?))
    }

    /// Sends a request and reads its JSON answer.
    ///
    /// # Errors
    ///
    /// As [`send`](Self::send), and [`CommandError::Answer`].
    ///
    /// # Cancel safety
    ///
    /// Dropping the future hangs up.
    pub(crate) async fn json<T: DeserializeOwned>(&self, call: Call) -> Result<T, CommandError> {
        let body = self.whole(self.send(call).await?).await?;
        serde_json::from_slice(&body).map_err(|error| CommandError::Answer(error.to_string()))
    }

    /// Reads a whole answer.
    ///
    /// # Errors
    ///
    /// [`CommandError::Unreachable`] if it breaks off.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future hangs up.
    pub(crate) async fn whole(&self, mut body: AnswerBody) -> Result<Bytes, CommandError> {
        let mut whole = Vec::new();
        while let Some(piece) = self.piece(&mut body).await? {
            whole.extend_from_slice(&piece);
        }
        Ok(whole.into())
    }

    /// Reads the next piece of an answer; `None` at its end.
    ///
    /// # Errors
    ///
    /// [`CommandError::Unreachable`] if it breaks off.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost.
    pub(crate) async fn piece(&self, body: &mut AnswerBody) -> Result<Option<Bytes>, CommandError> {
        let frame = std::future::poll_fn(|cx| body.poll_frame(cx)).await.transpose();
        let frame = frame.map_err(|error| self.unreachable(&error))?;
        // A frame without data is one of trailers.
        Ok(frame.map(|frame| frame.into_data().unwrap_or_default()))
    }

    fn refused(&self, status: StatusCode, body: &[u8]) -> CommandError {
        let problem = match serde_json::from_slice(body) {
            Ok(problem) => problem,
            // An operators' listener says what is missing as problem JSON; others only that it is.
            Err(_) if matches!(status, StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED) => {
                return CommandError::Elsewhere { url: WorkerUrl::refused(&self.url) };
            }
            Err(_) => Problem::new(status, format!("{status} {}", String::from_utf8_lossy(body))),
        };
        CommandError::Refused(Box::new(problem))
    }

    /// The error of a connection.
    pub(crate) fn unreachable(&self, error: &(dyn std::error::Error + 'static)) -> CommandError {
        let mut last = error;
        while let Some(cause) = last.source() {
            last = cause;
        }
        CommandError::Unreachable { url: WorkerUrl::refused(&self.url), reason: last.to_string() }
    }
}

/// The header that says that a body is a module.
pub(crate) fn module_type() -> (&'static str, String) {
    ("content-type", "application/wasm".to_owned())
}

/// The header that says that a body is JSON.
pub(crate) fn json_type() -> (&'static str, String) {
    ("content-type", "application/json".to_owned())
}

/// A text as a segment of a path or a value of a query.
pub(crate) fn encoded(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    text.bytes()
        .map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect()
}

/// The token, if a header can hold it. The error does not show it.
fn sendable(token: String, from: &str) -> Result<String, CommandError> {
    let refused =
        |_| CommandError::Usage(format!("{from}: a token has no line break or other control character"));
    HeaderValue::from_str(&token).map_err(refused).map(|_| token)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn token_that_no_header_can_hold_is_refused_by_the_name_of_where_it_was() {
        assert_eq!(sendable("a b".to_owned(), TOKEN_VARIABLE).unwrap(), "a b");
        let error = sendable("secret\n".to_owned(), TOKEN_VARIABLE).unwrap_err().to_string();
        assert!(error.contains(TOKEN_VARIABLE) && error.contains("line break"), "{error}");
        assert!(!error.contains("secret"), "{error}");
    }

    #[test]
    fn text_is_encoded_for_urls() {
        assert_eq!(encoded("a-b_c.d~1"), "a-b_c.d~1");
        assert_eq!(encoded("{\"é\": 1}&x/y"), "%7B%22%C3%A9%22%3A%201%7D%26x%2Fy");
    }
}
