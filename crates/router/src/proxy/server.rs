//! The listener of the data plane: accepts, serves, stops.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{HttpService, service_fn};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

use crate::proxy::client_io::ClientIo;
use crate::proxy::clients::{Client, Clients, Stage};
use crate::proxy::data_plane::DataPlane;
use crate::proxy::http2_server::serve_http2;
use crate::proxy::out_body::OutBody;
use crate::proxy::protocols::{Protocols, Spoken};
use crate::proxy::service;
use crate::tls::ListenerTls;

/// Pause after an accept that failed for lack of file descriptors or memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// How often it is told that nothing can be accepted.
const TELL_INTERVAL: Duration = Duration::from_secs(10);

/// A bound listener.
#[derive(Debug)]
pub struct DataServer {
    listener: TcpListener,
    clients: Arc<Clients>,
    protocols: Protocols,
}

impl DataServer {
    /// Binds the address.
    ///
    /// # Errors
    ///
    /// If the address cannot be bound.
    pub async fn bind(address: SocketAddr, proxy: Arc<DataPlane>) -> io::Result<Self> {
        let protocols = Protocols { tls: None, http2: proxy.settings().http2 };
        Ok(Self { listener: TcpListener::bind(address).await?, clients: Clients::new(proxy), protocols })
    }

    /// The same with TLS, if there is any.
    pub(crate) fn with_tls(mut self, tls: Option<Arc<ListenerTls>>) -> Self {
        self.protocols.tls = tls;
        self
    }

    /// The address that is bound.
    ///
    /// # Errors
    ///
    /// If the system does not say.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves until told to stop. Then it accepts no more connections, closes idle ones, lets
    /// requests in flight finish for as long as the settings say, and closes what is left.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future stops accepting; connections go on without deadlines.
    pub async fn serve(self, stop: CancellationToken) {
        let Self { listener, clients, protocols } = self;
        tokio::select! {
            () = stop.cancelled() => {}
            () = accept_for_ever(&listener, &clients, &protocols) => {}
            () = clients.sweep_for_ever() => {}
        }
        drop(listener);
        let limit = clients.proxy().settings().shutdown;
        clients.proxy().stop();
        clients.advance(Stage::Draining);
        let finishing = async {
            tokio::select! {
                () = clients.emptied() => {}
                () = clients.sweep_for_ever() => {}
            }
        };
        if tokio::time::timeout(limit, finishing).await.is_err() {
            // Who still waits is told so before its connection is closed.
            clients.proxy().queue().close().await;
            tracing::warn!(connections = clients.len(), "closing connections that did not finish in time");
            clients.advance(Stage::Closing);
            clients.emptied().await;
        }
    }
}

async fn accept_for_ever(listener: &TcpListener, clients: &Arc<Clients>, protocols: &Protocols) {
    let mut told = None;
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                clients.room().await;
                spawn(stream, peer, clients, protocols);
            }
            Err(error) => {
                if told.is_none_or(|told: Instant| told.elapsed() > TELL_INTERVAL) {
                    tracing::warn!(%error, connections = clients.len(), "cannot accept a connection");
                    told = Some(Instant::now());
                }
                clients.make_room();
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

fn spawn(stream: TcpStream, peer: SocketAddr, clients: &Arc<Clients>, protocols: &Protocols) {
    // Without it, the small writes of a stream wait for the client's delayed acknowledgements.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "connection is gone already");
        return;
    }
    let client = clients.enter(peer.ip());
    let io = ClientIo::new(stream, Arc::clone(&client));
    // Dropped last: whoever waits for the connections to end waits for their requests too.
    let present = Present(Arc::clone(&client));
    if protocols.is_plain_http1() {
        tokio::spawn(async move {
            let _present = present;
            serve_http1(io, &client).await;
        });
        return;
    }
    let protocols = protocols.clone();
    tokio::spawn(async move {
        let _present = present;
        let max_streams = protocols.http2.max_streams;
        match protocols.find_out(io, &client).await {
            Some((Spoken::Plain(io), true)) => serve_http2(TokioIo::new(io), &client, max_streams).await,
            Some((Spoken::Plain(io), false)) => serve_http1(io, &client).await,
            Some((Spoken::Tls(io), true)) => serve_http2(TokioIo::new(io), &client, max_streams).await,
            Some((Spoken::Tls(io), false)) => serve_http1(io, &client).await,
            None => {}
        }
    });
}

async fn serve_http1<T>(io: T, client: &Arc<Client>)
where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let handler = service_fn(|request| {
        let answer = service::handle(Arc::clone(client), request);
        async move { Ok::<_, Infallible>(answer.await) }
    });
    let connection = http1::Builder::new().serve_connection(TokioIo::new(io), handler);
    serve_connection(pin!(connection), client).await;
}

/// Serves one connection until it ends, is idle for too long, or has to close.
async fn serve_connection<T, S>(mut connection: Pin<&mut http1::Connection<TokioIo<T>, S>>, client: &Client)
where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    S: HttpService<Incoming, ResBody = OutBody, Error = Infallible>,
{
    let mut watched = false;
    let mut draining = false;
    std::future::poll_fn(|cx| {
        if !watched {
            client.set_waker(cx);
            watched = true;
        }
        let clients = client.clients();
        if client.must_close() || clients.is_at_least(Stage::Closing) {
            return Poll::Ready(());
        }
        if !draining && clients.is_at_least(Stage::Draining) {
            draining = true;
            connection.as_mut().graceful_shutdown();
        }
        // An error is a client that hung up or does not speak HTTP; there is nobody to tell.
        let polled = connection.as_mut().poll(cx).map(drop);
        // A client that does not read its answer keeps hyper from asking for more of it, so that
        // the deadline is not noticed where it usually is.
        let is_stuck = client.is_busy() && client.is_late_now();
        if is_stuck || client.has_hung_up() { Poll::Ready(()) } else { polled }
    })
    .await;
}

/// Tells the register of connections when this one ends, even if its task panics.
struct Present(Arc<Client>);

impl Drop for Present {
    fn drop(&mut self) {
        self.0.leave();
    }
}
