//! A worker that does what a test tells it to.

use std::collections::{BTreeSet, HashMap};
use std::convert::Infallible;
use std::future::{Future, pending};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, AtomicUsize, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode, Uri};
use http_body_util::BodyExt;
use hyper::body::{Body, Frame, Incoming};
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use parking_lot::Mutex;
use sgl_router::config::WorkerEntry;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, Semaphore, mpsc};
use tokio::task::JoinSet;

use crate::waits::soon;

/// Tells when it is dropped.
struct OnDrop(Arc<Notify>);

impl Drop for OnDrop {
    fn drop(&mut self) {
        self.0.notify_one();
    }
}

/// A request as a worker got it.
#[derive(Clone, Debug)]
pub struct SeenRequest {
    /// Its method.
    pub method: Method,
    /// What it is for.
    pub uri: Uri,
    /// The version of HTTP that it came in.
    pub version: http::Version,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Bytes,
}

impl SeenRequest {
    /// The body as JSON, which it must be.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).expect("a JSON body")
    }
}

/// A body that a test sends piece by piece, or whole. Tells when the other side has dropped it.
#[derive(Debug)]
pub struct Script {
    pieces: mpsc::Receiver<Bytes>,
    length: Option<u64>,
    _dropped: Option<Signal>,
}

/// Sets off its notification when it is dropped.
#[derive(Debug)]
struct Signal(Arc<Notify>);

impl Drop for Signal {
    fn drop(&mut self) {
        self.0.notify_one();
    }
}

impl Body for Script {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.pieces.poll_recv(cx).map(|piece| piece.map(|piece| Ok(Frame::data(piece))))
    }

    fn size_hint(&self) -> hyper::body::SizeHint {
        self.length.map_or_else(Default::default, hyper::body::SizeHint::with_exact)
    }
}

/// An answer with a whole body.
pub fn whole(status: u16, body: &str) -> Response<Script> {
    let (send, pieces) = mpsc::channel(1);
    send.try_send(Bytes::from(body.to_owned())).expect("room for one piece");
    let length = Some(body.len() as u64);
    let mut response = Response::new(Script { pieces, length, _dropped: None });
    *response.status_mut() = StatusCode::from_u16(status).expect("a status");
    response.headers_mut().insert("content-type", "application/json".parse().expect("a header"));
    response
}

/// An event stream that a test sends piece by piece; it ends when the sender is dropped. The
/// notification tells that the router has ended it.
pub fn stream() -> (Response<Script>, mpsc::Sender<Bytes>, Arc<Notify>) {
    let (send, pieces) = mpsc::channel(1);
    let dropped = Arc::new(Notify::new());
    let script = Script { pieces, length: None, _dropped: Some(Signal(Arc::clone(&dropped))) };
    let mut response = Response::new(script);
    response.headers_mut().insert("content-type", "text/event-stream".parse().expect("a header"));
    (response, send, dropped)
}

type PendingResponse = Pin<Box<dyn Future<Output = Response<Script>> + Send>>;

/// A worker. It closes everything when it is dropped.
#[derive(Debug)]
pub struct Upstream {
    /// Where it listens.
    pub address: SocketAddr,
    state: Arc<UpstreamState>,
    _accepting: JoinSet<()>,
}

#[derive(Debug)]
struct UpstreamState {
    health: AtomicU16,
    health_checks: AtomicUsize,
    checked: Notify,
    connections: AtomicUsize,
    seen: Mutex<Vec<SeenRequest>>,
    arrived: Notify,
    hang_up: Notify,
    extra: Mutex<HashMap<String, (u16, String)>>,
    asked: Mutex<HashMap<String, usize>>,
    keys: Mutex<BTreeSet<String>>,
}

impl Upstream {
    /// A healthy worker that answers requests with `reply`.
    pub async fn start<F, R>(reply: F) -> Self
    where
        F: Fn(SeenRequest) -> R + Send + Sync + 'static,
        R: Future<Output = Response<Script>> + Send + 'static,
    {
        Self::start_at("127.0.0.1:0".parse().expect("an address"), reply).await
    }

    /// The same at an address of its own.
    pub async fn start_at<F, R>(address: SocketAddr, reply: F) -> Self
    where
        F: Fn(SeenRequest) -> R + Send + Sync + 'static,
        R: Future<Output = Response<Script>> + Send + 'static,
    {
        let listener = TcpListener::bind(address).await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let state = Arc::new(UpstreamState {
            health: AtomicU16::new(200),
            health_checks: AtomicUsize::new(0),
            checked: Notify::new(),
            connections: AtomicUsize::new(0),
            seen: Mutex::default(),
            arrived: Notify::new(),
            hang_up: Notify::new(),
            extra: Mutex::default(),
            asked: Mutex::default(),
            keys: Mutex::default(),
        });
        let reply: Arc<dyn Fn(SeenRequest) -> PendingResponse + Send + Sync> =
            Arc::new(move |seen| Box::pin(reply(seen)));
        let mut accepting = JoinSet::new();
        accepting.spawn(accept(listener, Arc::clone(&state), reply));
        Self { address, state, _accepting: accepting }
    }

    /// Closes all connections, and takes new ones.
    pub fn hang_up(&self) {
        self.state.hang_up.notify_waiters();
    }

    /// A worker that gives this answer to its first request, which must be the only one.
    pub async fn once(response: Response<Script>) -> Self {
        let slot = Mutex::new(Some(response));
        Self::start(move |_| {
            let response = slot.lock().take().expect("one request");
            async { response }
        })
        .await
    }

    /// A worker that answers everything with 200 and `body`.
    pub async fn saying(body: &'static str) -> Self {
        Self::start(move |_| async move { whole(200, body) }).await
    }

    /// A worker that answers each request once somebody adds a permit for it.
    pub async fn behind_a_gate() -> (Self, Arc<Semaphore>) {
        let gate = Arc::new(Semaphore::new(0));
        let permits = Arc::clone(&gate);
        let worker = Self::start(move |_| {
            let permits = Arc::clone(&permits);
            async move {
                permits.acquire().await.expect("it stays open").forget();
                whole(200, "{}")
            }
        });
        (worker.await, gate)
    }

    /// A worker that answers nothing, and tells when a request to it ends.
    pub async fn without_an_answer() -> (Self, Arc<Notify>) {
        let ended = Arc::new(Notify::new());
        let on_drop = Arc::clone(&ended);
        let worker = Self::start(move |_| {
            let guard = OnDrop(Arc::clone(&on_drop));
            async move {
                let _guard = guard;
                pending().await
            }
        });
        (worker.await, ended)
    }

    /// A worker that answers everything with this status.
    pub async fn failing(status: u16) -> Self {
        Self::start(move |_| async move { whole(status, r#"{"error":"scripted"}"#) }).await
    }

    /// Its URL.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Its entry in a configuration.
    pub fn entry(&self) -> WorkerEntry {
        WorkerEntry { url: self.url(), ..WorkerEntry::default() }
    }

    /// What its health endpoint answers from now on.
    pub fn set_health(&self, status: u16) {
        self.state.health.store(status, Ordering::SeqCst);
    }

    /// Another path that it answers by itself, or from now on in another way. With the status 0 it
    /// never answers.
    pub fn serve(&self, path: &str, status: u16, body: &str) {
        self.state.extra.lock().insert(path.to_owned(), (status, body.to_owned()));
    }

    /// What health checks and questions of routers have shown as their key, each once; an empty text stands
    /// for none.
    pub fn keys_of_checks(&self) -> Vec<String> {
        self.state.keys.lock().iter().cloned().collect()
    }

    /// How often a path that it answers by itself was asked for.
    pub fn asked(&self, path: &str) -> usize {
        self.state.asked.lock().get(path).copied().unwrap_or_default()
    }

    /// Waits for that many more health checks.
    pub async fn checks(&self, count: usize) {
        let goal = self.state.health_checks.load(Ordering::SeqCst) + count;
        loop {
            let checked = self.state.checked.notified();
            if self.state.health_checks.load(Ordering::SeqCst) >= goal {
                return;
            }
            soon(checked).await;
        }
    }

    /// Connections that were ever opened to it.
    pub fn connections(&self) -> usize {
        self.state.connections.load(Ordering::SeqCst)
    }

    /// The requests that it got, health checks and the like not counted.
    pub fn seen(&self) -> Vec<SeenRequest> {
        self.state.seen.lock().clone()
    }

    /// Waits until it got that many requests.
    pub async fn arrived(&self, count: usize) {
        loop {
            let arrived = self.state.arrived.notified();
            if self.state.seen.lock().len() >= count {
                return;
            }
            soon(arrived).await;
        }
    }
}

async fn accept(
    listener: TcpListener,
    state: Arc<UpstreamState>,
    reply: Arc<dyn Fn(SeenRequest) -> PendingResponse + Send + Sync>,
) {
    let mut connections = JoinSet::new();
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        state.connections.fetch_add(1, Ordering::SeqCst);
        stream.set_nodelay(true).expect("a connection");
        let (state, reply) = (Arc::clone(&state), Arc::clone(&reply));
        connections.spawn(async move {
            let end = state.hang_up.notified();
            tokio::select! {
                () = end => {}
                () = serve(stream, &state, reply) => {}
            }
        });
    }
}

async fn serve(
    stream: TcpStream,
    state: &Arc<UpstreamState>,
    reply: Arc<dyn Fn(SeenRequest) -> PendingResponse + Send + Sync>,
) {
    let service = service_fn(|request| {
        let (state, reply) = (Arc::clone(state), Arc::clone(&reply));
        async move { Ok::<_, Infallible>(answer(request, &state, &*reply).await) }
    });
    // A router that hangs up is part of the script.
    if is_http2(&stream).await {
        let builder = http2::Builder::new(TokioExecutor::new());
        let _ = builder.serve_connection(TokioIo::new(stream), service).await;
    } else {
        let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
    }
}

/// True if the first bytes are those of HTTP/2 with prior knowledge.
async fn is_http2(stream: &TcpStream) -> bool {
    let mut first = [0; 4];
    // A request of HTTP/1.1 has more bytes, and comes in one piece on loopback.
    matches!(stream.peek(&mut first).await, Ok(4)) && &first == b"PRI "
}

/// What routers ask on their own account, besides health.
const QUESTIONS: [&str; 10] = [
    "/get_load",
    "/get_server_info",
    "/load",
    "/metrics",
    "/props",
    "/server_info",
    "/slots",
    "/v1/loads",
    "/v1/models",
    "/version",
];

async fn answer(
    request: Request<Incoming>,
    state: &UpstreamState,
    reply: &(dyn Fn(SeenRequest) -> PendingResponse + Send + Sync),
) -> Response<Script> {
    let path = request.uri().path();
    if path == "/health" || QUESTIONS.contains(&path) {
        let key = request.headers().get("authorization").map_or("", |key| key.to_str().expect("text"));
        state.keys.lock().insert(key.to_owned());
    }
    if path == "/health" {
        state.health_checks.fetch_add(1, Ordering::SeqCst);
        state.checked.notify_waiters();
        return whole(state.health.load(Ordering::SeqCst), "");
    }
    let is_question = QUESTIONS.contains(&path);
    let extra = state.extra.lock().get(path).cloned();
    if is_question || extra.is_some() {
        *state.asked.lock().entry(path.to_owned()).or_default() += 1;
        return match extra {
            None => whole(404, ""),
            Some((0, _)) => pending().await,
            Some((status, body)) => whole(status, &body),
        };
    }
    let (head, body) = request.into_parts();
    let Ok(body) = body.collect().await else { return whole(400, "") };
    let seen = SeenRequest {
        method: head.method,
        uri: head.uri,
        version: head.version,
        headers: head.headers,
        body: body.to_bytes(),
    };
    state.seen.lock().push(seen.clone());
    state.arrived.notify_waiters();
    reply(seen).await
}
