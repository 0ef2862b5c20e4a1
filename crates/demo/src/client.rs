//! HTTP to the router's three listeners.

use std::time::Duration;

use anyhow::{Context, bail, ensure};
use bytes::Bytes;
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde::Deserialize;
use serde_json::{Value, json};

/// What ends a request that nobody answers.
const LIMIT: Duration = Duration::from_secs(60);

/// Tokens of every answer.
const TOKENS: usize = 12;

/// How an answer is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    Plain,
    Streamed,
}

/// A whole answer.
#[derive(Debug)]
pub(crate) struct Answer {
    /// URL of the worker that gave it.
    pub(crate) worker: String,
    /// The pieces in which it arrived.
    pub(crate) pieces: usize,
}

/// A worker, as operators see it.
#[derive(Debug, Deserialize)]
pub(crate) struct Worker {
    pub(crate) url: String,
    pub(crate) weight: f64,
    pub(crate) healthy: bool,
    labels: Labels,
}

#[derive(Debug, Deserialize)]
struct Labels {
    name: Option<String>,
}

impl Worker {
    /// Its label `name`, or else its URL.
    pub(crate) fn name(&self) -> &str {
        self.labels.name.as_deref().unwrap_or(&self.url)
    }
}

/// A plugin, as operators see it.
#[derive(Debug, Deserialize)]
pub(crate) struct Plugin {
    /// Decisions of all generations.
    decisions: u64,
    /// Decisions that the fallback policy made instead.
    pub(crate) fallbacks: u64,
    /// Those that live, oldest first: the last serves.
    generations: Vec<Generation>,
}

#[derive(Clone, Copy, Debug, Deserialize)]
struct Generation {
    generation: u64,
    decisions: u64,
}

impl Plugin {
    /// The generation that serves.
    pub(crate) fn generation(&self) -> u64 {
        self.generations.last().map_or(0, |last| last.generation)
    }

    /// Decisions of the generations before the one that serves, and of that one.
    pub(crate) fn decisions(&self) -> [u64; 2] {
        // Those before may be gone from the list, but not from the sum of all.
        let last = self.generations.last().map_or(0, |last| last.decisions);
        [self.decisions.saturating_sub(last), last]
    }
}

/// A client of one router; clones share its connections.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    inner: legacy::Client<HttpConnector, Full<Bytes>>,
    router: String,
    admin: String,
    metrics: String,
}

impl Client {
    pub(crate) fn new(router: &str, admin: &str, metrics: &str) -> Self {
        let [router, admin, metrics] = [router, admin, metrics].map(str::to_owned);
        let inner = legacy::Client::builder(TokioExecutor::new()).build_http();
        Self { inner, router, admin, metrics }
    }

    /// Sends a chat and reads the whole answer, which must be as long as was asked for.
    pub(crate) async fn chat(&self, prompt: &str, form: Form) -> anyhow::Result<Answer> {
        let body = json!({
            "model": "sim-model",
            "messages": [{ "role": "user", "content": prompt }],
            "max_tokens": TOKENS,
            "stream": form == Form::Streamed,
        });
        let url = format!("http://{}/v1/chat/completions", self.router);
        let answer = self.answer(url, Bytes::from(body.to_string()), form);
        let answer = tokio::time::timeout(LIMIT, answer).await;
        answer.with_context(|| format!("no whole answer within {LIMIT:?}"))?
    }

    async fn answer(&self, url: String, body: Bytes, form: Form) -> anyhow::Result<Answer> {
        let response = self.send(Method::POST, url, "application/json", body).await?;
        let worker = response.headers().get("x-sgl-worker").cloned();
        let status = response.status();
        let (text, pieces) = read(response.into_body()).await?;
        ensure!(status == StatusCode::OK, "{status}: {text}");
        match form {
            Form::Plain => check_plain(&text)?,
            Form::Streamed => check_streamed(&text)?,
        }
        let worker = worker.context("the answer names no worker")?.to_str()?.to_owned();
        Ok(Answer { worker, pieces })
    }

    async fn send(
        &self,
        method: Method,
        url: String,
        content_type: &str,
        body: Bytes,
    ) -> anyhow::Result<http::Response<Incoming>> {
        let request = Request::builder()
            .method(method)
            .uri(url)
            .header("content-type", content_type)
            .body(Full::new(body))?;
        Ok(self.inner.request(request).await?)
    }

    async fn operate(&self, method: Method, url: String, body: Vec<u8>) -> anyhow::Result<String> {
        let response = self.send(method, url.clone(), "application/wasm", body.into()).await?;
        let status = response.status();
        let (text, _) = read(response.into_body()).await?;
        ensure!(status.is_success(), "{url} answered {status}: {text}");
        Ok(text)
    }

    /// All workers.
    pub(crate) async fn workers(&self) -> anyhow::Result<Vec<Worker>> {
        #[derive(Deserialize)]
        struct List {
            workers: Vec<Worker>,
        }
        let url = format!("http://{}/workers", self.admin);
        let list: List = serde_json::from_str(&self.operate(Method::GET, url, Vec::new()).await?)?;
        Ok(list.workers)
    }

    /// Replaces the module of a plugin; it serves when this returns.
    pub(crate) async fn replace(&self, plugin: &str, module: Vec<u8>) -> anyhow::Result<()> {
        let url = format!("http://{}/v1/plugins/{plugin}", self.admin);
        self.operate(Method::PUT, url, module).await.context("the module could not be replaced")?;
        Ok(())
    }

    /// What is known of a plugin.
    pub(crate) async fn plugin(&self, plugin: &str) -> anyhow::Result<Plugin> {
        let url = format!("http://{}/v1/plugins/{plugin}", self.admin);
        Ok(serde_json::from_str(&self.operate(Method::GET, url, Vec::new()).await?)?)
    }

    /// The metrics page.
    pub(crate) async fn metrics(&self) -> anyhow::Result<String> {
        self.operate(Method::GET, format!("http://{}/metrics", self.metrics), Vec::new()).await
    }
}

/// A body as text, and the number of pieces in which it arrived.
async fn read(mut body: Incoming) -> anyhow::Result<(String, usize)> {
    let (mut bytes, mut pieces) = (Vec::new(), 0);
    while let Some(frame) = body.frame().await {
        if let Ok(data) = frame?.into_data() {
            bytes.extend_from_slice(&data);
            pieces += 1;
        }
    }
    Ok((String::from_utf8(bytes)?, pieces))
}

fn check_plain(text: &str) -> anyhow::Result<()> {
    let answer: Value = serde_json::from_str(text)?;
    let tokens = answer.pointer("/usage/completion_tokens").and_then(Value::as_u64);
    ensure!(tokens.is_some_and(|tokens| tokens == TOKENS as u64), "not {TOKENS} tokens: {text}");
    Ok(())
}

fn check_streamed(text: &str) -> anyhow::Result<()> {
    let mut tokens = 0;
    let mut events = text.split_terminator("\n\n").map(|event| event.strip_prefix("data: "));
    for event in events.by_ref() {
        match event.context("not an event stream")? {
            "[DONE]" => break,
            chunk => {
                let chunk: Value = serde_json::from_str(chunk)?;
                let token = chunk.pointer("/choices/0/delta/content").and_then(Value::as_str);
                tokens += usize::from(token.is_some_and(|token| !token.is_empty()));
            }
        }
    }
    if tokens != TOKENS || !text.ends_with("data: [DONE]\n\n") {
        bail!("not {TOKENS} tokens and an end: {text}");
    }
    Ok(())
}
