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
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

use crate::proxy::client_io::ClientIo;
use crate::proxy::clients::{Client, Clients, Stage};
use crate::proxy::data_plane::DataPlane;
use crate::proxy::out_body::OutBody;
use crate::proxy::service;

/// Pause after an accept that failed for lack of file descriptors or memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// How often it is told that nothing can be accepted.
const TELL_INTERVAL: Duration = Duration::from_secs(10);

/// A bound listener.
#[derive(Debug)]
pub struct DataServer {
    listener: TcpListener,
    clients: Arc<Clients>,
}

impl DataServer {
    /// Binds the address.
    ///
    /// # Errors
    ///
    /// If the address cannot be bound.
    pub async fn bind(address: SocketAddr, proxy: Arc<DataPlane>) -> io::Result<Self> {
        Ok(Self { listener: TcpListener::bind(address).await?, clients: Clients::new(proxy) })
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
        let Self { listener, clients } = self;
        tokio::select! {
            () = stop.cancelled() => {}
            () = accept_for_ever(&listener, &clients) => {}
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

async fn accept_for_ever(listener: &TcpListener, clients: &Arc<Clients>) {
    let mut told = None;
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                clients.room().await;
                spawn(stream, peer, clients);
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

fn spawn(stream: TcpStream, peer: SocketAddr, clients: &Arc<Clients>) {
    // Without it, the small writes of a stream wait for the client's delayed acknowledgements.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "connection is gone already");
        return;
    }
    let client = clients.enter(peer.ip());
    let io = ClientIo::new(stream, Arc::clone(&client));
    let handler = {
        let client = Arc::clone(&client);
        service_fn(move |request| {
            let answer = service::handle(Arc::clone(&client), request);
            async move { Ok::<_, Infallible>(answer.await) }
        })
    };
    let connection = http1::Builder::new().serve_connection(TokioIo::new(io), handler);
    tokio::spawn(async move {
        // Dropped last: whoever waits for the connections to end waits for their requests too.
        let _present = Present(Arc::clone(&client));
        serve_connection(pin!(connection), &client).await;
    });
}

/// Serves one connection until it ends, is idle for too long, or has to close.
async fn serve_connection<S>(
    mut connection: Pin<&mut http1::Connection<TokioIo<ClientIo>, S>>,
    client: &Client,
) where
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
