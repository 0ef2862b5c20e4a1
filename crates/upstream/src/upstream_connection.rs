//! One connection to a worker, driven by the task that uses it.
//!
//! hyper's client hands a connection in two halves: a sender, and a driver that has to be polled
//! for anything to happen. Usually the driver gets a task of its own, and then every request and
//! every chunk costs wake-ups across tasks. Here whoever waits for the answer polls the driver
//! itself. The price: an idle connection is not watched; it is looked at when it is taken from
//! the pool, and pruned now and then.
//!
//! Of HTTP/2 it is one stream of a connection that others share ([`Http2Connection`]).

use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Response};
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::client::conn::http1;
use tokio::time::Instant;

use crate::address::{Address, Reached};
use crate::http2_connection::{Http2Connection, Http2Stream};
use crate::payload::{Outgoing, Payload};
use crate::upstream_error::UpstreamError;
use crate::worker_stream::WorkerStream;

/// A connection to a worker, for one request at a time.
#[derive(Debug)]
pub struct UpstreamConnection {
    carrier: Carrier,
    idle_since: Instant,
}

/// What a request goes over.
#[derive(Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "most are of the large one, which a box would allocate each time"
)]
enum Carrier {
    /// A connection of its own, of HTTP/1.1.
    Own(OwnConnection),
    /// A stream of a shared one, of HTTP/2.
    Shared(Http2Stream),
}

/// hyper's two halves.
#[derive(Debug)]
struct OwnConnection {
    sender: http1::SendRequest<Payload>,
    /// `None` once it has ended.
    driver: Option<http1::Connection<WorkerStream, Payload>>,
}

impl UpstreamConnection {
    /// Connects, without delaying small writes.
    ///
    /// # Errors
    ///
    /// As [`Address::connect`].
    ///
    /// # Cancel safety
    ///
    /// Dropping the future closes what was opened.
    pub async fn open(address: &Address, limit: Duration) -> Result<Box<Self>, UpstreamError> {
        let carrier = match address.reach_out(limit).await? {
            Reached::Http1(stream) => {
                let (sender, driver) = http1::handshake(stream).await.map_err(UpstreamError::Broken)?;
                Carrier::Own(OwnConnection { sender, driver: Some(driver) })
            }
            Reached::Http2(stream) => {
                let connection = Http2Connection::open(stream, address.url()).await?;
                Carrier::Shared(connection.stream().ok_or(UpstreamError::Ended)?)
            }
        };
        Ok(Box::new(Self { carrier, idle_since: Instant::now() }))
    }

    /// Room for a request on a connection of HTTP/2, if it has any.
    pub fn over(connection: &Http2Connection) -> Option<Box<Self>> {
        let carrier = Carrier::Shared(connection.stream()?);
        Some(Box::new(Self { carrier, idle_since: Instant::now() }))
    }

    /// The connection of HTTP/2 that it is a stream of.
    pub fn shared(&self) -> Option<Http2Connection> {
        match &self.carrier {
            Carrier::Own(_) => None,
            Carrier::Shared(stream) => Some(stream.connection()),
        }
    }

    /// Sends the request that `make` makes, and waits for the head of the answer. Taken as a function,
    /// since a request is large and would be kept in this future and copied with it.
    ///
    /// # Errors
    ///
    /// [`UpstreamError::Unsent`], [`UpstreamError::Broken`], [`UpstreamError::Ended`] or
    /// [`UpstreamError::Tls`].
    ///
    /// # Cancel safety
    ///
    /// Dropping the future closes the connection, or resets the stream, which tells the worker to stop.
    pub async fn send(
        mut self: Box<Self>,
        make: impl FnOnce() -> Outgoing,
    ) -> Result<UpstreamAnswer, UpstreamError> {
        let response = match &mut self.carrier {
            Carrier::Own(line) => line.send(make).await?,
            // Boxed: its future is large, and the other is what matters.
            Carrier::Shared(stream) => Box::pin(stream.send(make())).await?,
        };
        Ok(UpstreamAnswer { response, connection: self })
    }

    /// True if it can take a request. Looks whether the worker has closed it meanwhile, and
    /// leaves no waker behind.
    pub fn is_usable(&mut self) -> bool {
        match &mut self.carrier {
            Carrier::Own(line) => line.is_usable(),
            Carrier::Shared(stream) => stream.is_usable(),
        }
    }

    /// When it was last used.
    pub fn idle_since(&self) -> Instant {
        self.idle_since
    }
}

impl OwnConnection {
    async fn send(&mut self, make: impl FnOnce() -> Outgoing) -> Result<Response<Incoming>, UpstreamError> {
        let mut answer = pin!(self.sender.try_send_request(make()));
        let driver = &mut self.driver;
        let answered = std::future::poll_fn(|cx| {
            drive(driver, cx);
            // The driver fills in the answer, so it needs no waker of its own.
            match answer.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
                Poll::Ready(answered) => Poll::Ready(Some(answered)),
                Poll::Pending if driver.is_none() => Poll::Ready(None),
                Poll::Pending => Poll::Pending,
            }
        });
        match answered.await {
            Some(Ok(response)) => Ok(response),
            Some(Err(mut error)) => {
                let unsent = error.take_message().is_some();
                let error = error.into_error();
                Err(if unsent { UpstreamError::Unsent(error) } else { UpstreamError::of_sending(error) })
            }
            None => Err(UpstreamError::Ended),
        }
    }

    fn is_usable(&mut self) -> bool {
        drive(&mut self.driver, &mut Context::from_waker(Waker::noop()));
        self.driver.is_some() && self.sender.is_ready()
    }
}

/// Lets the connection make progress; takes it away if it has ended.
fn drive(driver: &mut Option<http1::Connection<WorkerStream, Payload>>, cx: &mut Context<'_>) {
    // An error of the driver also reaches the answer or its body, which is where it is handled.
    if driver.as_mut().is_some_and(|driver| Pin::new(driver).poll(cx).is_ready()) {
        *driver = None;
    }
}

/// The head of an answer, and the connection that its body comes from.
#[derive(Debug)]
pub struct UpstreamAnswer {
    /// Status, headers, and hyper's half of the body.
    pub response: Response<Incoming>,
    connection: Box<UpstreamConnection>,
}

impl UpstreamAnswer {
    /// The head and the body.
    pub fn into_parts(self) -> (http::response::Parts, AnswerBody) {
        let (head, incoming) = self.response.into_parts();
        (head, AnswerBody { incoming, connection: Some(self.connection), held: Bytes::new(), trailers: None })
    }
}

/// The body of an answer. Dropped before its end, it closes the connection.
#[derive(Debug)]
pub struct AnswerBody {
    incoming: Incoming,
    connection: Option<Box<UpstreamConnection>>,
    /// What was [read ahead](Self::read_ahead) and is still to be given out.
    held: Bytes,
    /// Boxed, since nearly none has them.
    trailers: Option<Box<HeaderMap>>,
}

impl AnswerBody {
    /// The next part of the body.
    pub fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        if !self.held.is_empty() {
            return Poll::Ready(Some(Ok(Frame::data(std::mem::take(&mut self.held)))));
        }
        if let Some(trailers) = self.trailers.take() {
            return Poll::Ready(Some(Ok(Frame::trailers(*trailers))));
        }
        self.poll_incoming(cx)
    }

    /// Reads the next piece, which [`poll_frame`](Self::poll_frame) gives out all the same; all
    /// that was read ahead is then one piece. Shows the new piece to `look`; false at the end.
    /// Nothing is copied or allocated if there is one piece only.
    ///
    /// # Errors
    ///
    /// If the connection breaks.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost.
    pub async fn read_ahead(&mut self, look: impl FnOnce(&[u8])) -> Result<bool, hyper::Error> {
        let Some(frame) = std::future::poll_fn(|cx| self.poll_incoming(cx)).await.transpose()? else {
            return Ok(false);
        };
        match frame.into_data() {
            Ok(piece) => {
                look(&piece);
                self.held = if self.held.is_empty() { piece } else { [&*self.held, &*piece].concat().into() };
                Ok(true)
            }
            // They end a body.
            Err(frame) => {
                self.trailers = frame.into_trailers().ok().map(Box::new);
                Ok(false)
            }
        }
    }

    /// What was read ahead and is still to be given out.
    pub fn held(&self) -> &[u8] {
        &self.held
    }

    fn poll_incoming(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let line = match self.connection.as_deref_mut().map(|connection| &mut connection.carrier) {
            // The task of the connection wakes this one.
            Some(Carrier::Shared(_)) => return Pin::new(&mut self.incoming).poll_frame(cx),
            Some(Carrier::Own(line)) => Some(line),
            None => None,
        };
        let quiet = &mut Context::from_waker(Waker::noop());
        // What was read together with the head is there already.
        if let ready @ Poll::Ready(_) = Pin::new(&mut self.incoming).poll_frame(quiet) {
            return ready;
        }
        if let Some(line) = line {
            drive(&mut line.driver, cx);
        }
        Pin::new(&mut self.incoming).poll_frame(quiet)
    }

    /// True if nothing more comes.
    pub fn is_end(&self) -> bool {
        self.held.is_empty() && self.trailers.is_none() && self.incoming.is_end_stream()
    }

    /// True if its connection says where it ends, whatever its head says.
    pub fn is_framed(&self) -> bool {
        self.connection.as_ref().is_some_and(|connection| matches!(connection.carrier, Carrier::Shared(_)))
    }

    /// True if its head says how long it is.
    pub fn has_length(&self) -> bool {
        self.incoming.size_hint().exact().is_some()
    }

    /// How much is still to come.
    pub fn size_hint(&self) -> SizeHint {
        let mut hint = self.incoming.size_hint();
        let held = u64::try_from(self.held.len()).unwrap_or(u64::MAX);
        if let Some(upper) = hint.upper() {
            hint.set_upper(upper.saturating_add(held));
        }
        hint.set_lower(hint.lower().saturating_add(held));
        hint
    }

    /// After the end: the connection, if it can be used again. A stream is used once.
    pub fn reclaim(&mut self) -> Option<Box<UpstreamConnection>> {
        let mut connection = self.connection.take()?;
        if matches!(connection.carrier, Carrier::Shared(_)) {
            return None;
        }
        connection.idle_since = Instant::now();
        connection.is_usable().then_some(connection)
    }

    /// The whole body, up to `limit` bytes; `None` beyond that or if the connection breaks.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses what was read.
    pub async fn collect(&mut self, limit: usize) -> Option<Vec<u8>> {
        let mut whole = Vec::new();
        while let Some(frame) = std::future::poll_fn(|cx| self.poll_frame(cx)).await {
            if let Ok(data) = frame.ok()?.into_data() {
                if whole.len() + data.len() > limit {
                    return None;
                }
                whole.extend_from_slice(&data);
            }
        }
        Some(whole)
    }
}
