//! One connection to a worker, driven by the task that uses it.
//!
//! hyper's client hands a connection in two halves: a sender, and a driver that has to be polled
//! for anything to happen. Usually the driver gets a task of its own, and then every request and
//! every chunk costs wake-ups across tasks. Here whoever waits for the answer polls the driver
//! itself. The price: an idle connection is not watched; it is looked at when it is taken from
//! the pool, and pruned now and then.

use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::client::conn::http1;
use tokio::time::Instant;

use crate::address::Address;
use crate::payload::Payload;
use crate::upstream_error::UpstreamError;
use crate::worker_stream::WorkerStream;

/// What is sent to a worker.
pub type Outgoing = Request<Payload>;

/// A connection to a worker.
#[derive(Debug)]
pub struct UpstreamConnection {
    sender: http1::SendRequest<Payload>,
    /// `None` once it has ended.
    driver: Option<http1::Connection<WorkerStream, Payload>>,
    idle_since: Instant,
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
        let stream = address.connect(limit).await?;
        let (sender, driver) =
            http1::handshake(WorkerStream::new(stream)).await.map_err(UpstreamError::Broken)?;
        Ok(Box::new(Self { sender, driver: Some(driver), idle_since: Instant::now() }))
    }

    /// Sends the request that `make` makes, and waits for the head of the answer. Taken as a function,
    /// since a request is large and would be kept in this future and copied with it.
    ///
    /// # Errors
    ///
    /// [`UpstreamError::Unsent`], [`UpstreamError::Broken`] or [`UpstreamError::Ended`].
    ///
    /// # Cancel safety
    ///
    /// Dropping the future closes the connection, which tells the worker to stop.
    pub async fn send(
        mut self: Box<Self>,
        make: impl FnOnce() -> Outgoing,
    ) -> Result<UpstreamAnswer, UpstreamError> {
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
            Some(Ok(response)) => Ok(UpstreamAnswer { response, connection: self }),
            Some(Err(mut error)) => {
                let unsent = error.take_message().is_some();
                let error = error.into_error();
                Err(if unsent { UpstreamError::Unsent(error) } else { UpstreamError::Broken(error) })
            }
            None => Err(UpstreamError::Ended),
        }
    }

    /// True if it can take a request. Looks whether the worker has closed it meanwhile, and
    /// leaves no waker behind.
    pub fn is_usable(&mut self) -> bool {
        drive(&mut self.driver, &mut Context::from_waker(Waker::noop()));
        self.driver.is_some() && self.sender.is_ready()
    }

    /// When it was last used.
    pub fn idle_since(&self) -> Instant {
        self.idle_since
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
        let quiet = &mut Context::from_waker(Waker::noop());
        // What was read together with the head is there already.
        if let ready @ Poll::Ready(_) = Pin::new(&mut self.incoming).poll_frame(quiet) {
            return ready;
        }
        if let Some(connection) = &mut self.connection {
            drive(&mut connection.driver, cx);
        }
        Pin::new(&mut self.incoming).poll_frame(quiet)
    }

    /// True if nothing more comes.
    pub fn is_end(&self) -> bool {
        self.held.is_empty() && self.trailers.is_none() && self.incoming.is_end_stream()
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

    /// After the end: the connection, if it can be used again.
    pub fn reclaim(&mut self) -> Option<Box<UpstreamConnection>> {
        let mut connection = self.connection.take()?;
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
