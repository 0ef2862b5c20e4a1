//! Stands before a worker, keeps the bodies of the requests that pass, and changes nothing.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo};
use parking_lot::Mutex;
use serde_json::Value;
use sgl_tools::sim::SimWorker;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::JoinSet;

/// The requests that passed some taps, each with the number of its tap.
#[derive(Debug, Default)]
pub(crate) struct Passed {
    requests: Mutex<Vec<(usize, Value)>>,
    grown: Notify,
}

impl Passed {
    /// The requests that `which` is true for, as soon as there are so many of them.
    pub(crate) async fn requests(&self, count: usize, which: impl Fn(&Value) -> bool) -> Vec<(usize, Value)> {
        loop {
            let grown = self.grown.notified();
            let found: Vec<_> =
                self.requests.lock().iter().filter(|(_, body)| which(body)).cloned().collect();
            if found.len() >= count {
                return found;
            }
            grown.await;
        }
    }
}

/// A tap. Dropped, it closes its connections.
#[derive(Debug)]
pub(crate) struct Tap {
    address: SocketAddr,
    _serving: JoinSet<()>,
}

impl Tap {
    pub(crate) async fn before(worker: &SimWorker, number: usize, passed: &Arc<Passed>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let passage = Passage {
            client: legacy::Client::builder(TokioExecutor::new()).build_http(),
            worker: worker.addr(),
            number,
            passed: Arc::clone(passed),
        };
        let mut serving = JoinSet::new();
        serving.spawn(accept(listener, passage));
        Self { address, _serving: serving }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

#[derive(Clone, Debug)]
struct Passage {
    client: legacy::Client<HttpConnector, Full<Bytes>>,
    worker: SocketAddr,
    number: usize,
    passed: Arc<Passed>,
}

impl Passage {
    async fn pass(self, request: Request<Incoming>) -> Result<Response<Incoming>, legacy::Error> {
        let (mut head, body) = request.into_parts();
        let path = head.uri.path_and_query().map_or("/", |path| path.as_str());
        head.uri = format!("http://{}{path}", self.worker).parse().expect("a URI");
        let body = body.collect().await.expect("a whole body").to_bytes();
        let request = serde_json::from_slice(&body).expect("a JSON body");
        self.passed.requests.lock().push((self.number, request));
        self.passed.grown.notify_waiters();
        self.client.request(Request::from_parts(head, Full::new(body))).await
    }
}

async fn accept(listener: TcpListener, passage: Passage) {
    let mut connections = JoinSet::new();
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        connections.spawn(serve(stream, passage.clone()));
    }
}

async fn serve(stream: TcpStream, passage: Passage) {
    stream.set_nodelay(true).expect("a connection");
    let service = service_fn(move |request| passage.clone().pass(request));
    // A router that hangs up is part of the test.
    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}
