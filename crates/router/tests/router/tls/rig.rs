//! Workers behind TLS, clients that speak it, and routers that do.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ServerConfig};
use sgl_router::RunningRouter;
use sgl_router::config::WorkerEntry;
use sgl_testkit::client::{TestClient, Whole, chat, piece};
use sgl_testkit::router;
use sgl_testkit::upstream::Upstream;
use sgl_testkit::waits::soon;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinSet;
use tokio_rustls::client::TlsStream;
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::tls::authority::{Authority, Issued};

/// Speaks TLS in front of a worker that speaks none.
pub(crate) struct TlsFront {
    address: SocketAddr,
    connections: Arc<AtomicUsize>,
    _accepting: JoinSet<()>,
}

impl TlsFront {
    pub(crate) async fn before(worker: &Upstream, config: Arc<ServerConfig>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, behind) = (listener.local_addr().unwrap(), worker.address);
        let (acceptor, connections) = (TlsAcceptor::from(config), Arc::new(AtomicUsize::new(0)));
        let counted = Arc::clone(&connections);
        let mut accepting = JoinSet::new();
        accepting.spawn(async move {
            let mut open = JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (acceptor, counted) = (acceptor.clone(), Arc::clone(&counted));
                open.spawn(async move {
                    // A router that does not trust it is part of a test.
                    let Ok(mut clear) = acceptor.accept(stream).await else { return };
                    counted.fetch_add(1, Ordering::SeqCst);
                    let mut worker = TcpStream::connect(behind).await.unwrap();
                    worker.set_nodelay(true).unwrap();
                    let _ = tokio::io::copy_bidirectional(&mut clear, &mut worker).await;
                });
            }
        });
        Self { address, connections, _accepting: accepting }
    }

    pub(crate) fn url(&self) -> String {
        format!("https://{}", self.address)
    }

    pub(crate) fn entry(&self) -> WorkerEntry {
        WorkerEntry { url: self.url(), ..WorkerEntry::default() }
    }

    /// Handshakes that succeeded.
    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

/// A router over these workers that trusts this authority.
pub(crate) async fn trusting(workers: Vec<WorkerEntry>, authority: &Authority, dir: &Path) -> RunningRouter {
    let file = authority.file(dir);
    router::start(router::config_with(workers, |config| config.upstream.tls.ca_cert_paths = vec![file])).await
}

/// A router over this worker that speaks TLS with this certificate.
pub(crate) async fn speaking_tls(worker: &Upstream, shown: &Issued, dir: &Path) -> RunningRouter {
    let (certificate, key) = shown.files(dir, "router");
    router::start(router::config_with(vec![worker.entry()], |config| {
        config.server.tls.cert_path = Some(certificate);
        config.server.tls.key_path = Some(key);
    }))
    .await
}

/// A router over this worker that takes HTTP/2 without TLS.
pub(crate) async fn speaking_h2c(worker: &Upstream) -> RunningRouter {
    router::start(router::config_with(vec![worker.entry()], |config| config.server.http2.cleartext = true))
        .await
}

/// A client gets what a worker sends piece by piece, and hangs up, which the worker is told.
pub(crate) async fn stream_comes_and_ends(
    mut client: TestClient,
    pieces: mpsc::Sender<Bytes>,
    ended: Arc<Notify>,
) {
    pieces.send("data: 1\n\n".into()).await.unwrap();
    let mut body = soon(client.send(chat("hi"))).await.unwrap().into_body();
    assert_eq!(piece(&mut body).await.unwrap(), "data: 1\n\n");
    pieces.send("data: 2\n\n".into()).await.unwrap();
    assert_eq!(piece(&mut body).await.unwrap(), "data: 2\n\n");
    drop((body, client));
    soon(ended.notified()).await;
}

/// Connects by TLS.
pub(crate) async fn connect(
    address: SocketAddr,
    config: Arc<ClientConfig>,
) -> std::io::Result<TlsStream<TcpStream>> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let name = ServerName::try_from("localhost").unwrap();
    soon(TlsConnector::from(config).connect(name, stream)).await
}

/// One connection of HTTP/2. Dropped, it hangs up.
pub(crate) struct Http2Client {
    pub(crate) sender: http2::SendRequest<Full<Bytes>>,
    driving: JoinSet<()>,
}

impl Http2Client {
    /// With prior knowledge.
    pub(crate) async fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Self::over(stream, &http2::Builder::new(TokioExecutor::new())).await
    }

    /// Over TLS.
    pub(crate) async fn connect_tls(address: SocketAddr, authority: &Authority) -> Self {
        let stream = connect(address, authority.client(None, &["h2"])).await.unwrap();
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
        Self::over(stream, &http2::Builder::new(TokioExecutor::new())).await
    }

    pub(crate) async fn over<T>(stream: T, builder: &http2::Builder<TokioExecutor>) -> Self
    where
        T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (sender, connection) = builder.handshake(TokioIo::new(stream)).await.unwrap();
        let mut driving = JoinSet::new();
        driving.spawn(async move {
            // What breaks is seen where it is waited for.
            let _ = connection.await;
        });
        Self { sender, driving }
    }

    /// Sends a request, and waits for the head of the answer. Dropped, it resets the stream.
    pub(crate) fn send(
        &self,
        request: Request<Full<Bytes>>,
    ) -> impl Future<Output = hyper::Result<Response<Incoming>>> + use<> {
        let mut sender = self.sender.clone();
        let (mut head, body) = request.into_parts();
        let path = head.uri.path_and_query().map_or("/", |path| path.as_str());
        head.uri = format!("https://localhost{path}").parse().unwrap();
        head.headers.remove("host");
        let request = Request::from_parts(head, body);
        async move {
            sender.ready().await?;
            sender.send_request(request).await
        }
    }

    /// Sends a request and reads the whole answer.
    pub(crate) async fn call(&self, request: Request<Full<Bytes>>) -> Whole {
        whole(soon(self.send(request)).await.unwrap()).await
    }

    /// Waits until the other side has closed the connection.
    pub(crate) async fn closed(mut self) {
        soon(self.driving.join_next()).await;
    }
}

/// Reads the whole of an answer.
pub(crate) async fn whole(response: Response<Incoming>) -> Whole {
    let (head, body) = response.into_parts();
    let body = soon(body.collect()).await.unwrap().to_bytes();
    Whole { status: head.status, headers: head.headers, body }
}
