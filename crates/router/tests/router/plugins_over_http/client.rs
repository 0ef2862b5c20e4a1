//! The clients' side.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::Value;
use tokio::task::JoinSet;

use crate::plugins_over_http::answer::{Answer, Form, Held};
use crate::plugins_over_http::workers::chat;

/// Requests of a crowd that are under way at a time.
const LANES: usize = 16;

/// Where chats go.
pub(crate) const CHAT: &str = "/v1/chat/completions";

/// A client with a pool of connections; clones share it.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    inner: legacy::Client<HttpConnector, Full<Bytes>>,
    router: SocketAddr,
}

impl Client {
    pub(crate) fn new(router: SocketAddr) -> Self {
        Self { inner: legacy::Client::builder(TokioExecutor::new()).build_http(), router }
    }

    async fn send(&self, path: &str, body: &Value) -> Response<Incoming> {
        let request = Request::post(format!("http://{}{path}", self.router))
            .header("content-type", "application/json")
            .body(Full::new(Bytes::from(body.to_string())))
            .expect("the request is well-formed");
        within(self.inner.request(request)).await.expect("the router answers")
    }

    /// Sends a request and reads the answer to its end.
    pub(crate) async fn ask(&self, path: &str, body: &Value) -> Answer {
        let (head, body) = self.send(path, body).await.into_parts();
        let body = within(body.collect()).await.expect("the answer is complete").to_bytes();
        Answer { status: head.status, headers: head.headers, body }
    }

    /// Sends a chat and checks the answer; the number of its worker.
    pub(crate) async fn chat(&self, prompt: &str, form: Form) -> usize {
        self.ask(CHAT, &form.asked(chat(prompt))).await.whole_from(form)
    }

    /// Starts a streamed answer and reads its first piece.
    pub(crate) async fn hold(&self, path: &str, body: &Value) -> Held {
        let (head, mut body) = self.send(path, &Form::Streamed.asked(body.clone())).await.into_parts();
        assert_eq!(head.status, StatusCode::OK);
        within(body.frame()).await.expect("there is a first piece").expect("it is whole");
        Held { headers: head.headers, _body: body }
    }

    /// Sends `count` chats, half plain and half streamed, several at a time. How many each of so
    /// many workers answered.
    pub(crate) async fn crowd(&self, count: usize, workers: usize) -> Vec<u64> {
        let mut lanes = JoinSet::new();
        for lane in 0..LANES {
            let client = self.clone();
            lanes.spawn(async move {
                let mut answered = vec![0; workers];
                for number in (lane..count).step_by(LANES) {
                    let worker =
                        client.chat(&format!("chat number {number}"), Form::of(number / LANES)).await;
                    *answered.get_mut(worker).expect("a worker of this test") += 1;
                }
                answered
            });
        }
        let mut total = vec![0; workers];
        for answered in lanes.join_all().await {
            total.iter_mut().zip(answered).for_each(|(total, count)| *total += count);
        }
        total
    }
}

/// Ends a test that waits for what never comes; far beyond anything that these tests take.
pub(crate) async fn within<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(Duration::from_secs(60), future).await.expect("it comes about")
}
