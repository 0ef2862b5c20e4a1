//! The client of the operators' listener.

use std::path::Path;

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, Uri, header};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde::de::DeserializeOwned;

use crate::cli::plugin::args::PluginArgs;
use crate::cli::plugin::command_error::CommandError;
use sgl_api::Problem;
use sgl_upstream::WorkerUrl;
use sglang_router_rs::types::shown_path;

const TOKEN_VARIABLE: &str = "SGL_ROUTER_ADMIN_TOKEN";

/// A client of one router.
#[derive(Debug)]
pub(crate) struct AdminClient {
    http: Client<HttpConnector, Full<Bytes>>,
    url: String,
    token: Option<String>,
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
    /// A client as the flags and the environment say.
    ///
    /// # Errors
    ///
    /// [`CommandError::Usage`] if the URL is none or the token cannot be read.
    pub(crate) fn new(args: &PluginArgs) -> Result<Self, CommandError> {
        Self::with(&args.admin_url, args.admin_token_file.as_deref())
    }

    /// A client of the router whose operators' listener is at `url`, with the token of the file, or else of
    /// the environment.
    ///
    /// # Errors
    ///
    /// As [`new`](Self::new).
    pub(crate) fn with(url: &str, token_file: Option<&Path>) -> Result<Self, CommandError> {
        let token = match token_file {
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
        Self::at(url, token)
    }

    /// A client of the router whose operators' listener is at `url`.
    ///
    /// # Errors
    ///
    /// [`CommandError::Usage`] if the URL is none.
    pub(crate) fn at(url: &str, token: Option<String>) -> Result<Self, CommandError> {
        let url = url.trim_end_matches('/').to_owned();
        let parsed: Uri =
            url.parse().map_err(|error| CommandError::Usage(format!("--admin-url: {error}")))?;
        if parsed.scheme_str() != Some("http") || parsed.authority().is_none() {
            return Err(CommandError::Usage(format!(
                "--admin-url: found {:?}; allowed: http://HOST:PORT",
                WorkerUrl::refused(&url)
            )));
        }
        let http = Client::builder(TokioExecutor::new()).build_http();
        Ok(Self { http, url, token })
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
    pub(crate) async fn send(&self, call: Call) -> Result<Response<Incoming>, CommandError> {
        let mut request = Request::builder()
            .method(call.method)
            .uri(format!("{}{}", self.url, call.path))
            .header(header::ACCEPT, call.accept);
        if let Some(token) = &self.token {
            request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
        }
        for (name, value) in call.headers {
            request = request.header(name, value);
        }
        let request =
            request.body(Full::new(call.body)).map_err(|error| CommandError::Usage(error.to_string()))?;
        let response = self.http.request(request).await.map_err(|error| self.unreachable(&error))?;
        if response.status().is_success() {
            return Ok(response);
        }
        let status = response.status();
        Err(self.refused(status, &self.whole(response).await?))
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
    pub(crate) async fn whole(&self, response: Response<Incoming>) -> Result<Bytes, CommandError> {
        let body = response.into_body().collect().await;
        Ok(body.map_err(|error| self.unreachable(&error))?.to_bytes())
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
