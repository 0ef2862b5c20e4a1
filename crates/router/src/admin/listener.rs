//! A listener for operators or for Prometheus, with limits on everything that a client can hold.
//!
//! | held | limit |
//! |---|---|
//! | connections | `max_connections`; further ones wait to be accepted |
//! | a handshake of TLS | `idle_timeout` |
//! | a connection until the head of its next request is there | `idle_timeout` |
//! | a body | `body_timeout`, see [`crate::admin::body`] |
//! | modules in memory | `max_uploads`, see [`crate::admin::connection`] |
//! | an answer that is not read | `write_timeout` |

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio_io_timeout::TimeoutWriter;
use tokio_util::sync::CancellationToken;

use crate::admin::connection::Connection;
use crate::config::checked::OperationsSettings;
use crate::tls::ListenerTls;

/// Pause after an accept that failed for lack of file descriptors or memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Time that requests in flight get when the listener is told to stop: a scraper that reads slowly must
/// not delay the end.
const STOP_GRACE: Duration = Duration::from_secs(1);

/// Most bytes of a head; hyper's own default is 400 KB.
const MAX_HEAD_BYTES: usize = 64 << 10;

/// Serves until told to stop, then gives requests in flight a second.
///
/// # Cancel safety
///
/// Dropping the future closes the listener and its connections.
pub(crate) async fn serve(
    listener: TcpListener,
    routes: Router,
    settings: OperationsSettings,
    tls: Option<Arc<ListenerTls>>,
    stop: CancellationToken,
) {
    let room = Arc::new(Semaphore::new(settings.max_connections));
    let uploads = Arc::new(Semaphore::new(settings.max_uploads));
    let (mut connections, graceful) = (JoinSet::new(), GracefulShutdown::new());
    loop {
        tokio::select! {
            () = stop.cancelled() => break,
            Some(_) = connections.join_next() => {}
            (stream, peer, permit) = accept(&listener, &room) => {
                let about =
                    Connection { peer, body_timeout: settings.body_timeout, uploads: Arc::clone(&uploads) };
                let serving = connection(stream, &routes, about, &settings, tls.clone(), graceful.watcher());
                connections.spawn(async move {
                    serving.await;
                    drop(permit);
                });
            }
        }
    }
    drop(listener);
    // Requests that have not ended by then are cut off.
    let _ = tokio::time::timeout(STOP_GRACE, graceful.shutdown()).await;
    connections.shutdown().await;
}

/// The next connection, when there is room for one.
async fn accept(
    listener: &TcpListener,
    room: &Arc<Semaphore>,
) -> (TcpStream, SocketAddr, Option<OwnedSemaphorePermit>) {
    // Fails only when the semaphore is closed, which nobody does.
    let permit = Arc::clone(room).acquire_owned().await.ok();
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => return (stream, peer, permit),
            Err(error) => {
                tracing::warn!(%error, "cannot accept an operator's connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

fn connection(
    stream: TcpStream,
    routes: &Router,
    about: Connection,
    settings: &OperationsSettings,
    tls: Option<Arc<ListenerTls>>,
    graceful: Watcher,
) -> impl Future<Output = ()> + use<> {
    let mut stream = TimeoutWriter::new(stream);
    stream.set_timeout(Some(settings.write_timeout));
    let stream = Box::pin(stream);
    let (routes, idle_timeout) = (routes.clone(), settings.idle_timeout);
    async move {
        let Some(tls) = tls else { return serve_over(stream, routes, about, idle_timeout, graceful).await };
        match tokio::time::timeout(idle_timeout, tls.acceptor().accept(stream)).await {
            Ok(Ok(stream)) => serve_over(Box::new(stream), routes, about, idle_timeout, graceful).await,
            Ok(Err(error)) => {
                tls.failed();
                tracing::debug!(%error, client = %about.peer, "no TLS with an operator's client");
            }
            Err(_) => tls.failed(),
        }
    }
}

async fn serve_over<T>(
    stream: T,
    routes: Router,
    about: Connection,
    idle_timeout: Duration,
    graceful: Watcher,
) where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let routes = TowerToHyperService::new(routes);
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(about.clone());
        routes.call(request)
    });
    let mut http = http1::Builder::new();
    // This timer starts when the connection begins to wait for a request, idle or not.
    http.timer(TokioTimer::new()).header_read_timeout(idle_timeout).max_buf_size(MAX_HEAD_BYTES);
    if let Err(error) = graceful.watch(http.serve_connection(TokioIo::new(stream), service)).await {
        tracing::debug!(%error, "an operator's connection ended early");
    }
}
