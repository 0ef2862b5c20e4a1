//! One request and its answer over a connection that is kept for the next.

use std::future::poll_fn;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue};

use crate::load::events::{EventReader, completion_tokens};
use crate::load::record::ErrorKind;
use crate::load::target::LoadTarget;
use sgl_upstream::{AnswerBody, UpstreamConnection};

/// For a new connection; it counts into the request's latency.
const CONNECT_LIMIT: Duration = Duration::from_secs(10);
/// `usage` is within the last bytes of a whole answer.
const TAIL_BYTES: usize = 4096;
/// What is kept of an answer that failed.
const SAID_BYTES: usize = 1024;
/// Who answered: the router's word, else that of a simulated worker.
const WORKER_HEADERS: [&str; 2] = ["x-sgl-worker", "x-sim-worker"];

/// A connection and the buffers that its requests use one after the other.
#[derive(Debug, Default)]
pub(crate) struct ClientConnection {
    connection: Option<Box<UpstreamConnection>>,
    events: EventReader,
    /// Microseconds between texts of the answer that was read last.
    gaps: Vec<u32>,
    tail: Vec<u8>,
    /// Whether the end of a stream is kept, too.
    keeps_tail: bool,
    /// The beginning of a whole answer.
    head: Vec<u8>,
}

/// What was read of an answer.
#[derive(Debug, Default)]
pub(crate) struct ReadAnswer {
    pub(crate) worker: Option<HeaderValue>,
    pub(crate) first_token: Option<Instant>,
    pub(crate) tokens: u64,
    /// What the answer said, if it failed.
    pub(crate) said: Option<String>,
}

impl ClientConnection {
    /// Sends a request and reads its whole answer. What is known of the answer is in `answered`
    /// also if it fails.
    ///
    /// # Errors
    ///
    /// How the request failed.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future closes the connection; the next request opens another.
    pub(crate) async fn exchange(
        &mut self,
        target: &LoadTarget,
        body: Bytes,
        expects_stream: bool,
        answered: &mut ReadAnswer,
    ) -> Result<(), ErrorKind> {
        self.gaps.clear();
        self.events.clear();
        self.tail.clear();
        self.head.clear();
        let connection = match self.connection.take_if(|connection| connection.is_usable()) {
            Some(connection) => connection,
            None => UpstreamConnection::open(target.address(), CONNECT_LIMIT)
                .await
                .map_err(|_| ErrorKind::Connect)?,
        };
        let answer = connection.send(|| target.request(body)).await;
        let (head, mut body) = answer.map_err(|_| ErrorKind::Closed)?.into_parts();
        answered.worker = worker(&head.headers);
        let streamed = is_stream(&head.headers);
        if streamed {
            self.read_events(&mut body, answered).await?;
        } else {
            self.read_whole(&mut body).await?;
        }
        self.connection = body.reclaim();
        if !head.status.is_success() {
            answered.said = said(if streamed { self.events.failure() } else { &self.head });
            return Err(ErrorKind::Status(head.status.as_u16()));
        }
        if !streamed && expects_stream {
            answered.said = said(&self.head);
            return Err(ErrorKind::Incomplete);
        }
        if !streamed {
            answered.tokens = completion_tokens(&self.tail).unwrap_or(0);
        } else if self.events.has_failed() {
            answered.said = said(self.events.failure());
            return Err(ErrorKind::StreamError);
        } else if !self.events.is_done() {
            return Err(ErrorKind::Incomplete);
        }
        Ok(())
    }

    /// A connection that keeps the end of streams, where their `usage` is.
    pub(crate) fn with_tail() -> Self {
        Self { keeps_tail: true, ..Self::default() }
    }

    /// The last bytes of the answer that was read last.
    pub(crate) fn tail(&self) -> &[u8] {
        &self.tail
    }

    /// Microseconds between texts of the answer that was read last.
    pub(crate) fn gaps(&self) -> &[u32] {
        &self.gaps
    }

    async fn read_whole(&mut self, body: &mut AnswerBody) -> Result<(), ErrorKind> {
        while let Some(piece) = next(body).await? {
            let room = SAID_BYTES.saturating_sub(self.head.len());
            self.head.extend_from_slice(piece.get(..room).unwrap_or(&piece));
            self.keep_tail(&piece);
        }
        Ok(())
    }

    fn keep_tail(&mut self, piece: &[u8]) {
        self.tail.extend_from_slice(piece);
        if self.tail.len() > 2 * TAIL_BYTES {
            self.tail.drain(..self.tail.len() - TAIL_BYTES);
        }
    }

    /// All texts of one piece came at the same time, as a client sees it: gaps of zero.
    async fn read_events(
        &mut self,
        body: &mut AnswerBody,
        answered: &mut ReadAnswer,
    ) -> Result<(), ErrorKind> {
        let mut last: Option<Instant> = None;
        while let Some(piece) = next(body).await? {
            if self.keeps_tail {
                self.keep_tail(&piece);
            }
            let mut texts = self.events.push(&piece);
            if texts == 0 {
                continue;
            }
            let now = Instant::now();
            answered.tokens += u64::from(texts);
            if last.is_none() {
                answered.first_token = Some(now);
                texts -= 1;
            }
            for _ in 0..texts {
                let gap = now.saturating_duration_since(last.unwrap_or(now)).as_micros();
                self.gaps.push(u32::try_from(gap).unwrap_or(u32::MAX));
                last = Some(now);
            }
            last = Some(now);
        }
        Ok(())
    }
}

/// The beginning of what a failed answer said; `None` if it said nothing.
fn said(text: &[u8]) -> Option<String> {
    let text = text.get(..SAID_BYTES).unwrap_or(text).trim_ascii();
    (!text.is_empty()).then(|| String::from_utf8_lossy(text).into_owned())
}

/// The next piece of a body.
async fn next(body: &mut AnswerBody) -> Result<Option<Bytes>, ErrorKind> {
    loop {
        match poll_fn(|cx| body.poll_frame(cx)).await {
            None => return Ok(None),
            Some(Err(_)) => return Err(ErrorKind::Closed),
            // Trailers are read over.
            Some(Ok(frame)) => {
                if let Ok(data) = frame.into_data() {
                    return Ok(Some(data));
                }
            }
        }
    }
}

fn worker(headers: &HeaderMap) -> Option<HeaderValue> {
    WORKER_HEADERS.iter().find_map(|name| headers.get(*name)).cloned()
}

fn is_stream(headers: &HeaderMap) -> bool {
    headers
        .get(http::header::CONTENT_TYPE)
        .is_some_and(|kind| kind.as_bytes().starts_with(b"text/event-stream"))
}
