//! The beginning of an answer: its head, and of a streamed one the first event too.

use std::time::Duration;

use http::StatusCode;
use http::response;
use tokio::time::Instant;

use crate::proxy::call_error::CallError;
use crate::proxy::event_stream::EventError;
use crate::proxy::event_stream::EventScan;
use crate::proxy::event_stream::is_dying;
use crate::proxy::headers::is_readable_as;
use crate::proxy::open_end::OpenEnd;
use crate::proxy::upstream::Answer;
use crate::proxy::upstream::AnswerBody;

/// How much of a stream is read ahead at most.
const MAX_HELD_BYTES: usize = 16 << 10;

/// How long a stream is held back from its first bytes on, if they are no whole event: comments keep
/// the connection alive while an engine queues the request, so clients must get them some day.
const MAX_HELD: Duration = Duration::from_secs(5);

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
}

impl Opening {
    /// Reads on to the first event of a stream, which tells whether the request is served at all.
    /// Tells `heard` of each piece that comes: a worker that sends comments is not silent.
    ///
    /// # Errors
    ///
    /// [`CallError::Broken`] if the connection breaks before, [`CallError::Empty`] if a stream ends
    /// before, [`CallError::Switched`].
    ///
    /// # Cancel safety
    ///
    /// Dropping the future closes the connection.
    pub async fn of(answer: Answer, mut heard: impl FnMut()) -> Result<Self, CallError> {
        let (head, mut body) = answer.into_parts();
        if head.status == StatusCode::SWITCHING_PROTOCOLS {
            return Err(CallError::Switched);
        }
        let is_dying = head.status == StatusCode::INTERNAL_SERVER_ERROR
            && tells_of_its_end(&mut body, &mut heard).await?;
        let mut events = is_event_stream(&head).then(EventScan::default);
        if let Some(events) = &mut events {
            read_first_event(&mut body, events, heard).await?;
        }
        let open_end = OpenEnd::of(&head);
        Ok(Self { head, body, events, open_end, is_dying })
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

    /// The status, or the code of the error that the stream began with.
    pub fn status(&self) -> u16 {
        self.error().map_or(self.head.status.as_u16(), |error| error.code)
    }
}

/// Reads an answer that says 500, to see whether the engine is dying.
async fn tells_of_its_end(body: &mut AnswerBody, mut heard: impl FnMut()) -> Result<bool, CallError> {
    while body.held().len() < MAX_HELD_BYTES && body.read_ahead(|_| {}).await.map_err(CallError::Broken)? {
        heard();
    }
    Ok(is_dying(body.held()))
}

/// In a compressed one no event would be found, and it would be held in vain.
fn is_event_stream(head: &response::Parts) -> bool {
    head.status == StatusCode::OK && is_readable_as(&head.headers, b"text/event-stream")
}

async fn read_first_event(
    body: &mut AnswerBody,
    events: &mut EventScan,
    mut heard: impl FnMut(),
) -> Result<(), CallError> {
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
        if !goes_on.map_err(CallError::Broken)? {
            events.end();
            return if events.is_empty() { Err(CallError::Empty) } else { Ok(()) };
        }
        heard();
        until.get_or_insert_with(|| Instant::now() + MAX_HELD);
    }
    Ok(())
}
