//! One HTTP/2 connection to a worker, which many requests share.
//!
//! Unlike a connection of HTTP/1.1 it has a task of its own: no one of those that wait for answers could
//! drive it for the others.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use http::uri::{Authority, PathAndQuery, Scheme};
use http::{Uri, header};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioTimer};

use crate::payload::{Outgoing, Payload};
use crate::upstream_error::UpstreamError;
use crate::worker_stream::WorkerStream;
use crate::worker_url::WorkerUrl;

/// How long a connection with requests on it may be silent before it is asked for a sign of life. Requests
/// may wait for minutes, and all of one connection break at once.
const PING_INTERVAL: Duration = Duration::from_secs(20);

/// How long that may take.
const PING_TIMEOUT: Duration = Duration::from_secs(10);

/// The most bytes of an answer's headers.
const MAX_HEADER_BYTES: u32 = 64 << 10;

/// A connection, of which requests take `Http2Stream`s. Closed when nobody has any of both.
#[derive(Clone, Debug)]
pub struct Http2Connection {
    sender: http2::SendRequest<Payload>,
    shared: Arc<Http2Numbers>,
}

/// What all that use a connection know of it.
#[derive(Debug)]
struct Http2Numbers {
    scheme: Scheme,
    authority: Option<Authority>,
    in_flight: AtomicUsize,
    /// How many the worker allows at a time.
    max_streams: AtomicUsize,
    begun: AtomicU64,
}

/// Room for one request on a connection.
#[derive(Debug)]
pub(crate) struct Http2Stream {
    sender: http2::SendRequest<Payload>,
    shared: Arc<Http2Numbers>,
}

impl Http2Connection {
    pub(crate) async fn open(stream: WorkerStream, url: &WorkerUrl) -> Result<Self, UpstreamError> {
        let mut builder = http2::Builder::new(TokioExecutor::new());
        builder
            .timer(TokioTimer::new())
            .keep_alive_interval(PING_INTERVAL)
            .keep_alive_timeout(PING_TIMEOUT)
            .max_header_list_size(MAX_HEADER_BYTES);
        let (sender, connection) = builder.handshake(stream).await.map_err(UpstreamError::of_sending)?;
        let shared = Arc::new(Http2Numbers {
            scheme: if url.is_tls() { Scheme::HTTPS } else { Scheme::HTTP },
            authority: url.authority().parse().ok(),
            in_flight: AtomicUsize::new(0),
            max_streams: AtomicUsize::new(connection.current_max_send_streams()),
            begun: AtomicU64::new(0),
        });
        let numbers = Arc::clone(&shared);
        tokio::spawn(async move {
            let mut connection = pin!(connection);
            let driven = std::future::poll_fn(|cx| {
                let polled = connection.as_mut().poll(cx);
                // Relaxed: who sees an old number waits a little, or opens a connection more.
                numbers.max_streams.store(connection.current_max_send_streams(), Ordering::Relaxed);
                polled
            });
            // Its requests have the error too.
            let _ = driven.await;
        });
        Ok(Self { sender, shared })
    }

    /// Room for one more request; `None` if it is closed or has as many as the worker allows.
    pub(crate) fn stream(&self) -> Option<Http2Stream> {
        if self.is_closed() {
            return None;
        }
        // Relaxed, as all of it: a bound that is passed by one is no fault, since hyper waits then.
        let max = self.shared.max_streams.load(Ordering::Relaxed);
        let taken = |count| (count < max).then_some(count + 1);
        let shared = &self.shared;
        shared.in_flight.fetch_update(Ordering::Relaxed, Ordering::Relaxed, taken).ok()?;
        shared.begun.fetch_add(1, Ordering::Relaxed);
        Some(Http2Stream { sender: self.sender.clone(), shared: Arc::clone(shared) })
    }

    /// True if it takes no more requests.
    pub fn is_closed(&self) -> bool {
        self.sender.is_closed()
    }

    /// Requests on it.
    pub fn in_flight(&self) -> usize {
        self.shared.in_flight.load(Ordering::Relaxed)
    }

    /// Requests that were begun on it since it was opened.
    pub fn begun(&self) -> u64 {
        self.shared.begun.load(Ordering::Relaxed)
    }
}

impl Http2Stream {
    pub(crate) fn connection(&self) -> Http2Connection {
        Http2Connection { sender: self.sender.clone(), shared: Arc::clone(&self.shared) }
    }

    pub(crate) fn is_usable(&self) -> bool {
        !self.sender.is_closed()
    }

    /// Sends a request, and waits for the head of the answer. Dropped, it resets the stream.
    pub(crate) async fn send(
        &mut self,
        request: Outgoing,
    ) -> Result<http::Response<hyper::body::Incoming>, UpstreamError> {
        let request = self.addressed(request);
        self.sender.try_send_request(request).await.map_err(|mut error| {
            let unsent = error.take_message().is_some();
            let error = error.into_error();
            if unsent { UpstreamError::Unsent(error) } else { UpstreamError::of_sending(error) }
        })
    }

    /// What HTTP/1.1 says with `host`, HTTP/2 says with the request's target.
    fn addressed(&self, mut request: Outgoing) -> Outgoing {
        request.headers_mut().remove(header::HOST);
        let mut parts = std::mem::take(request.uri_mut()).into_parts();
        parts.scheme = Some(self.shared.scheme.clone());
        parts.authority.clone_from(&self.shared.authority);
        parts.path_and_query.get_or_insert(PathAndQuery::from_static("/"));
        *request.uri_mut() = Uri::from_parts(parts).unwrap_or_default();
        *request.version_mut() = http::Version::HTTP_2;
        request
    }
}

impl Drop for Http2Stream {
    fn drop(&mut self) {
        self.shared.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}
