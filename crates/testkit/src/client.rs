//! A client that sees every piece of an answer, and can hang up.

use std::net::SocketAddr;

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::waits::soon;

/// One connection. Dropped, it hangs up.
#[derive(Debug)]
pub struct TestClient {
    sender: http1::SendRequest<Full<Bytes>>,
    driving: JoinSet<()>,
}

/// A whole answer.
#[derive(Debug)]
pub struct Whole {
    /// Its status.
    pub status: StatusCode,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Bytes,
}

impl Whole {
    /// The body as JSON, which it must be.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).expect("a JSON answer")
    }

    /// The body as text, which it must be.
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("text")
    }

    /// The code of an OpenAI error.
    pub fn code(&self) -> String {
        self.json().pointer("/error/code").and_then(|code| code.as_str()).unwrap_or_default().to_owned()
    }
}

impl TestClient {
    /// Connects to a router or a worker.
    pub async fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.expect("a listener");
        stream.set_nodelay(true).expect("a connection");
        Self::over(stream).await
    }

    /// Speaks HTTP/1.1 over a connection that is there.
    pub async fn over<T>(stream: T) -> Self
    where
        T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.expect("a handshake");
        let mut driving = JoinSet::new();
        driving.spawn(async move {
            // An answer that breaks off is seen where it is read.
            let _ = connection.await;
        });
        Self { sender, driving }
    }

    /// Sends a request and waits for the head of the answer.
    ///
    /// # Errors
    ///
    /// The connection has ended, or does before the answer.
    pub async fn send(&mut self, request: Request<Full<Bytes>>) -> hyper::Result<Response<Incoming>> {
        self.sender.ready().await?;
        self.sender.send_request(request).await
    }

    /// Sends a request and reads the whole answer.
    pub async fn call(&mut self, request: Request<Full<Bytes>>) -> Whole {
        let response = soon(self.send(request)).await.expect("an answer");
        let (head, body) = response.into_parts();
        let body = body.collect().await.expect("a whole body").to_bytes();
        Whole { status: head.status, headers: head.headers, body }
    }

    /// Waits until the other side has closed the connection.
    pub async fn closed(mut self) {
        soon(self.driving.join_next()).await;
    }
}

/// A request over a connection of its own.
pub async fn call(address: SocketAddr, request: Request<Full<Bytes>>) -> Whole {
    TestClient::connect(address).await.call(request).await
}

/// A request with a JSON body.
pub fn post(path: &str, body: &str) -> Request<Full<Bytes>> {
    Request::post(path)
        .header("host", "localhost")
        .header("content-type", "application/json")
        .body(Full::new(Bytes::from(body.to_owned())))
        .expect("a request")
}

/// A request without a body.
pub fn get(path: &str) -> Request<Full<Bytes>> {
    with_method("GET", path)
}

/// The same with another method.
pub fn with_method(method: &str, path: &str) -> Request<Full<Bytes>> {
    Request::builder()
        .method(method)
        .uri(path)
        .header("host", "localhost")
        .body(Full::default())
        .expect("a request")
}

/// A chat request.
pub fn chat(prompt: &str) -> Request<Full<Bytes>> {
    let body = serde_json::json!({"model": "m", "messages": [{"role": "user", "content": prompt}]});
    post("/v1/chat/completions", &body.to_string())
}

/// The next piece of a body as text; `None` at its end.
pub async fn piece(body: &mut Incoming) -> Option<String> {
    let frame = soon(body.frame()).await?.expect("a piece");
    Some(String::from_utf8(frame.into_data().expect("data").to_vec()).expect("text"))
}
