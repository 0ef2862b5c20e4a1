//! The beginning of an answer: its head, and of a streamed one the first event too.

use std::time::Duration;

use http::{StatusCode, response};
use memchr::memmem;
use tokio::time::Instant;

use crate::proxy::event_error::{EventError, is_dying};
use crate::proxy::event_stream::EventScan;
use crate::proxy::headers::{is_chunked, is_readable_as};
use crate::proxy::open_end::OpenEnd;
use crate::proxy::retry;
use sgl_upstream::{AnswerBody, UpstreamAnswer, UpstreamConnection, UpstreamError};

/// How much of a stream is read ahead at most.
const MAX_HELD_BYTES: usize = 16 << 10;

/// How long a stream is held back from its first bytes on, if they are no whole event: comments keep
/// the connection alive while an engine queues the request, so clients must get them some day.
const MAX_HELD: Duration = Duration::from_secs(5);

/// How long the rest of a refusal is waited for. Engines send it together with its head.
const MAX_REFUSAL: Duration = Duration::from_secs(1);

/// What Envoy says in a 503 of its own after the connection to the engine broke under the request.
/// Other reasons (no connection, too many requests) say that the engine saw nothing of it.
const BREAKS: [&[u8]; 2] = [b"reset reason: connection termination", b"reset reason: remote reset"];

/// An answer that was begun.
#[derive(Debug)]
pub struct Opening {
    /// Its head.
    pub head: response::Parts,
    /// Its whole body.
    pub body: AnswerBody,
    /// What was seen of its events, if it is a stream of them.
    pub events: Option<EventScan>,
    /// Watches for a cut-off of a body that ends with its connection.
    pub open_end: Option<OpenEnd>,
    is_dying: bool,
    hides_break: bool,
    /// Whether its body was read to the end.
    is_whole: bool,
}

impl Opening {
    /// What begins with this answer; [`read_on`](Self::read_on) tells more of it.
    ///
    /// # Errors
    ///
    /// [`UpstreamError::Switched`] and [`UpstreamError::Coded`].
    pub fn new(answer: UpstreamAnswer) -> Result<Self, UpstreamError> {
        let (head, body) = answer.into_parts();
        if head.status == StatusCode::SWITCHING_PROTOCOLS {
            return Err(UpstreamError::Switched);
        }
        let says_its_end = body.is_framed() || body.has_length() || is_chunked(&head.headers)?;
        Ok(Self {
            events: is_event_stream(&head).then(EventScan::default),
            open_end: if says_its_end { None } else { OpenEnd::of(&head) },
            head,
            body,
            is_dying: false,
            hides_break: false,
            is_whole: false,
        })
    }

    /// Reads on to the first event of a stream, which tells whether the request is served at all, to the
    /// first bytes of JSON that ends with its connection, which may end without any, and to the end of a short answer that may be a reason to ask another worker.
    /// Tells `heard` of each piece that comes: a worker that sends comments is not silent.
    ///
    /// # Errors
    ///
    /// [`UpstreamError::Broken`] if the connection breaks before, [`UpstreamError::Empty`] if a stream or
    /// the JSON ends before.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future closes the connection.
    pub async fn read_on(&mut self, mut heard: impl FnMut()) -> Result<(), UpstreamError> {
        if let Some(events) = &mut self.events {
            read_first_event(&mut self.body, events, &mut heard).await?;
        }
        if self.open_end.as_ref().is_some_and(OpenEnd::promises_json) {
            // Boxed: only old workers answer so.
            if !Box::pin(self.body.read_ahead(|_| {})).await.map_err(UpstreamError::Broken)? {
                return Err(UpstreamError::Empty);
            }
            heard();
        }
        if retry::is_reason(self.status()) {
            // Boxed: most answers are no refusals, and need no room for this.
            Box::pin(self.read_refusal(heard)).await.map_err(UpstreamError::Broken)?;
        }
        Ok(())
    }

    /// Reads on, as far as it comes soon.
    async fn read_refusal(&mut self, mut heard: impl FnMut()) -> Result<(), hyper::Error> {
        let body = &mut self.body;
        let reading = async {
            while body.held().len() < MAX_HELD_BYTES {
                if !body.read_ahead(|_| {}).await? {
                    return Ok::<_, hyper::Error>(true);
                }
                heard();
            }
            Ok(false)
        };
        self.is_whole = tokio::time::timeout(MAX_REFUSAL, reading).await.unwrap_or(Ok(false))?;
        let (status, text) = (self.head.status, self.body.held());
        self.is_dying = status == StatusCode::INTERNAL_SERVER_ERROR && is_dying(text);
        self.hides_break = status == StatusCode::SERVICE_UNAVAILABLE
            && BREAKS.iter().any(|words| memmem::find(text, words).is_some());
        Ok(())
    }

    /// Its connection, if all of it was read and the connection can be used again. What was read is
    /// still there.
    pub fn reclaim(&mut self) -> Option<Box<UpstreamConnection>> {
        if self.is_whole { self.body.reclaim() } else { None }
    }

    /// The error that the stream began with, if it did. One behind content is none, be it in the same
    /// piece: how a stream is cut must not decide what becomes of a request.
    pub fn error(&self) -> Option<EventError> {
        self.events.as_ref()?.error().filter(|error| error.is_first)
    }

    /// True if the engine says with its error that it is dying or stopping, and would say so to any
    /// request.
    pub fn is_dying(&self) -> bool {
        self.is_dying || self.error().is_some_and(|error| error.is_dying)
    }

    /// The status, or the code of the error that the stream began with; 502 for whatever a proxy makes
    /// of a connection that broke.
    pub fn status(&self) -> u16 {
        if self.hides_break {
            return StatusCode::BAD_GATEWAY.as_u16();
        }
        self.error().map_or(self.head.status.as_u16(), |error| error.code)
    }
}

/// A compressed stream is not held: no event could be found in it.
fn is_event_stream(head: &response::Parts) -> bool {
    head.status == StatusCode::OK && is_readable_as(&head.headers, b"text/event-stream")
}

async fn read_first_event(
    body: &mut AnswerBody,
    events: &mut EventScan,
    mut heard: impl FnMut(),
) -> Result<(), UpstreamError> {
    // Runs from the first bytes: before them there is nothing that a client could be given.
    let mut until: Option<Instant> = None;
    while !events.has_data() && body.held().len() < MAX_HELD_BYTES {
        let reading = body.read_ahead(|piece| events.look(piece));
        let goes_on = match until {
            None => reading.await,
            Some(until) => match tokio::time::timeout_at(until, reading).await {
                Ok(goes_on) => goes_on,
                Err(_) => break,
            },
        };
        if !goes_on.map_err(UpstreamError::Broken)? {
            events.end();
            return if events.is_empty() { Err(UpstreamError::Empty) } else { Ok(()) };
        }
        heard();
        until.get_or_insert_with(|| Instant::now() + MAX_HELD);
    }
    Ok(())
}
