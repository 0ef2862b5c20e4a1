//! A small HTTP client, and settings that need no timers.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::{Value, json};
use sgl_tools::sim::{SimConfig, SimWorker};

/// A worker that answers at once.
pub(crate) fn instant() -> SimConfig {
    SimConfig { time_scale: 0.0, ..SimConfig::default() }
}

pub(crate) async fn start(config: SimConfig) -> SimWorker {
    SimWorker::start(config).await.expect("the worker starts")
}

/// A chat request for an answer of so many tokens.
pub(crate) fn chat(max_tokens: u32, stream: bool) -> Value {
    json!({
        "model": "sim-model",
        "messages": [{ "role": "user", "content": "hello there" }],
        "max_tokens": max_tokens,
        "stream": stream,
    })
}

/// Ends a test that waits for what never comes; far beyond anything that these tests take.
pub(crate) async fn within<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(Duration::from_secs(60), future).await.expect("it comes about")
}

/// A whole answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).expect("the body is JSON")
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("the body is UTF-8")
    }

    /// The data of all server-sent events but the last, which must be `[DONE]`.
    pub(crate) fn events(&self) -> Vec<Value> {
        let mut events: Vec<&str> =
            self.text().split_terminator("\n\n").map(|event| &event["data: ".len()..]).collect();
        assert_eq!(events.pop(), Some("[DONE]"));
        events.iter().map(|event| serde_json::from_str(event).expect("an event is JSON")).collect()
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Client {
    inner: legacy::Client<HttpConnector, Full<Bytes>>,
    url: String,
}

impl Client {
    pub(crate) fn new(worker: &SimWorker) -> Self {
        Self::to(worker.url())
    }

    pub(crate) fn to(url: String) -> Self {
        Self { inner: legacy::Client::builder(TokioExecutor::new()).build_http(), url }
    }

    /// Sends a request; the body of the answer is still to be read.
    pub(crate) async fn send(
        &self,
        method: Method,
        path: &str,
        body: impl Into<Bytes>,
    ) -> Result<Response<Incoming>, legacy::Error> {
        let request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.url))
            .header("content-type", "application/json")
            .body(Full::new(body.into()))
            .expect("the request is well-formed");
        within(self.inner.request(request)).await
    }

    pub(crate) async fn call(&self, method: Method, path: &str, body: impl Into<Bytes>) -> Answer {
        let response = self.send(method, path, body).await.expect("an answer comes");
        let (parts, body) = response.into_parts();
        let body = within(body.collect()).await.expect("the answer is complete").to_bytes();
        Answer { status: parts.status, headers: parts.headers, body }
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.call(Method::GET, path, "").await
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Answer {
        self.call(Method::POST, path, body.to_string()).await
    }

    /// Starts a stream and reads its first frame.
    pub(crate) async fn open_stream(&self, body: &Value) -> Incoming {
        let response = self
            .send(Method::POST, "/v1/chat/completions", body.to_string())
            .await
            .expect("the stream begins");
        assert_eq!(response.status(), StatusCode::OK);
        let mut body = response.into_body();
        within(body.frame()).await.expect("there is a frame").expect("it is whole");
        body
    }
}
