//! The listener and the life of a worker.

use std::convert::Infallible;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use sgl_zmtp::Publisher;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;

use crate::sim::config::{SimConfig, SimError};
use crate::sim::dialect::Dialect;
use crate::sim::kv_sockets::KvSockets;
use crate::sim::load_feed::push_loads;
use crate::sim::ranks::Ranks;
use crate::sim::routes::Routes;
use crate::sim::sim_tls::acceptor;

/// Pause after a failed accept, so that running out of file descriptors does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// A running simulated worker. Several may run in one process, each with its own counters.
///
/// Dropping it stops it at once and cuts its connections; [`shutdown`](Self::shutdown) lets
/// running requests end first.
pub struct SimWorker {
    addr: SocketAddr,
    is_tls: bool,
    ranks: Arc<Ranks>,
    stop: Option<oneshot::Sender<()>>,
    serving: JoinHandle<()>,
}

impl fmt::Debug for SimWorker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimWorker")
            .field("addr", &self.addr)
            .field("worker_id", &self.ranks.config().worker_id)
            .finish_non_exhaustive()
    }
}

impl SimWorker {
    /// Starts a worker on the current tokio runtime, which needs its I/O and time drivers. It
    /// accepts connections when this returns.
    ///
    /// # Errors
    /// Settings out of range, all named at once; or an address that cannot be listened on.
    ///
    /// # Cancel safety
    /// Safe: dropped before it returns, nothing was started.
    pub async fn start(config: SimConfig) -> Result<Self, SimError> {
        config.check()?;
        let bind_error = |source| SimError::Bind { host: config.host.clone(), port: config.port, source };
        let listener = TcpListener::bind((config.host.as_str(), config.port)).await.map_err(bind_error)?;
        let addr = listener.local_addr().map_err(bind_error)?;
        let tls = match (&config.tls_cert, &config.tls_key) {
            (Some(certificate), Some(key)) => Some(acceptor(certificate, key)?),
            _ => None,
        };
        let ranks = Arc::new(Ranks::new(&config, KvSockets::bind(&config).await?));
        let (stop, stopped) = oneshot::channel();
        let is_tls = tls.is_some();
        let serving = tokio::spawn(serve(listener, tls, Arc::clone(&ranks), stopped));
        Ok(Self { addr, is_tls, ranks, stop: Some(stop), serving })
    }

    /// Where it listens, with the port that was picked.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Base URL, as `http://127.0.0.1:30000`; with TLS `https://…`.
    pub fn url(&self) -> String {
        format!("{}://{}", if self.is_tls { "https" } else { "http" }, self.addr)
    }

    /// Who listens to the loads that it pushes.
    pub fn load_listeners(&self) -> usize {
        let pushed = self.ranks.sockets.iter().flat_map(|sockets| &sockets.loads);
        pushed.map(Publisher::subscriber_count).sum()
    }

    /// Inference requests that arrived and could be read, whatever became of them.
    pub fn requests(&self) -> u64 {
        self.ranks.sum(|rank| rank.counters().requests())
    }

    /// The same for each data-parallel rank.
    pub fn requests_by_rank(&self) -> Vec<u64> {
        self.ranks.iter().map(|rank| rank.counters().requests()).collect()
    }

    /// Inference requests between arrival and the end of their answer, waiting ones included.
    pub fn in_flight(&self) -> usize {
        self.ranks.sum(|rank| rank.counters().in_flight())
    }

    /// Inference requests whose client went away before the end.
    pub fn cancelled(&self) -> u64 {
        self.ranks.sum(|rank| rank.counters().cancelled())
    }

    /// Requests that hold a place in the batch.
    pub fn running(&self) -> usize {
        self.ranks.sum(|rank| rank.batch().running())
    }

    /// Requests that wait for a place in the batch.
    pub fn queued(&self) -> usize {
        self.ranks.sum(|rank| rank.batch().waiting())
    }

    /// Waits until `reached` holds. It is asked at once, and again after every change of
    /// [`requests`](Self::requests), [`in_flight`](Self::in_flight),
    /// [`cancelled`](Self::cancelled), [`running`](Self::running) or [`queued`](Self::queued).
    ///
    /// # Cancel safety
    /// Safe: dropping it only stops the watching.
    pub async fn wait_until(&self, reached: impl Fn(&Self) -> bool) {
        self.ranks.changes.until(|| reached(self)).await;
    }

    /// Stops accepting, lets running requests end for the configured grace, then cuts off the
    /// rest. All connections are closed when this returns.
    ///
    /// # Cancel safety
    /// Dropped before it returns, the worker stops at once.
    pub async fn shutdown(mut self) {
        if let Some(stop) = self.stop.take() {
            // The receiver is gone only if serving has ended, which is what is wanted.
            let _ = stop.send(());
        }
        if let Err(error) = (&mut self.serving).await {
            tracing::error!(%error, "the simulated worker ended by itself");
        }
    }
}

impl Drop for SimWorker {
    fn drop(&mut self) {
        // Also drops the connections, which belong to that task.
        self.serving.abort();
    }
}

async fn serve(
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    ranks: Arc<Ranks>,
    stopped: oneshot::Receiver<()>,
) {
    let (dialect, grace) = (ranks.config().engine, ranks.config().shutdown_grace);
    let mut serving = Serving {
        listener,
        tls,
        routes: Arc::new(Routes::new(Arc::clone(&ranks))),
        graceful: GracefulShutdown::new(),
        connections: JoinSet::new(),
    };
    serving.connections.spawn(push_loads(Arc::clone(&ranks)));
    // An error is a worker that was dropped: nobody waits for its end.
    let _ = serving.until(stopped).await;
    ranks.control.end();
    let idle = ranks.changes.until(|| ranks.sum(|rank| rank.counters().in_flight()) == 0);
    let left = match dialect {
        // It ends at once: what runs breaks off.
        Some(Dialect::LlamaCpp) => Some(Duration::ZERO),
        None => Some(grace),
        // They go on taking requests until what runs has ended.
        Some(Dialect::Sglang) => {
            let ended = serving.until(timeout(grace, idle)).await.is_ok();
            Some(if ended { grace } else { Duration::ZERO })
        }
        Some(Dialect::Vllm) if serving.until(timeout(grace, idle)).await.is_err() => {
            ranks.control.fall_silent();
            None
        }
        Some(Dialect::Vllm) => Some(grace),
    };
    let Serving { listener, graceful, mut connections, .. } = serving;
    drop(listener);
    match left {
        // It stays for as long as its clients do.
        None => graceful.shutdown().await,
        Some(grace) => {
            if timeout(grace, graceful.shutdown()).await.is_err() {
                tracing::info!(?grace, "the simulated worker cuts off requests that did not end in time");
            }
        }
    }
    connections.shutdown().await;
}

/// The listener and what came over it.
struct Serving {
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    routes: Arc<Routes>,
    graceful: GracefulShutdown,
    connections: JoinSet<()>,
}

impl Serving {
    /// Takes connections until something has come about.
    async fn until<F: Future>(&mut self, ended: F) -> F::Output {
        tokio::pin!(ended);
        loop {
            tokio::select! {
                accepted = self.listener.accept() => match accepted {
                    Ok((stream, _)) => {
                        let routes = Arc::clone(&self.routes);
                        let ends = self.graceful.watcher();
                        self.connections.spawn(connection(stream, self.tls.clone(), routes, ends));
                    }
                    Err(error) => {
                        tracing::warn!(%error, "the simulated worker could not accept a connection");
                        sleep(ACCEPT_PAUSE).await;
                    }
                },
                Some(_) = self.connections.join_next() => {}
                output = &mut ended => return output,
            }
        }
    }
}

/// Serves one connection. Its errors are its client's doing: resets and malformed requests.
async fn connection(stream: TcpStream, tls: Option<TlsAcceptor>, routes: Arc<Routes>, ends: Watcher) {
    // A token must not wait for the acknowledgement of the one before it.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "TCP_NODELAY could not be set");
    }
    let Some(tls) = tls else { return serve_stream(stream, routes, ends).await };
    match tls.accept(stream).await {
        Ok(stream) => serve_stream(stream, routes, ends).await,
        Err(error) => tracing::debug!(%error, "a client of the simulated worker did not come to speak TLS"),
    }
}

async fn serve_stream<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
    stream: S,
    routes: Arc<Routes>,
    ends: Watcher,
) {
    let service = service_fn(move |request| {
        let routes = Arc::clone(&routes);
        async move { Ok::<_, Infallible>(routes.answer(request).await) }
    });
    let mut http = http1::Builder::new();
    // Idle connections stay open, as load generators and routers expect of a worker.
    http.header_read_timeout(None);
    if let Err(error) = ends.watch(http.serve_connection(TokioIo::new(stream), service)).await {
        tracing::trace!(%error, "a connection of the simulated worker ended early");
    }
}
