//! The body of an answer on its way to the client.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::{Body, Frame, SizeHint};

use crate::proxy::held_by_answer::HeldByAnswer;
use crate::proxy::passed::Passed;
use crate::proxy::stream_error::StreamError;
use crate::proxy::watched_request::WatchedRequest;
use sgl_api::End;

/// The body of any answer to a client.
#[derive(Debug)]
pub(crate) struct OutBody {
    source: BodySource,
    /// Who hears of the end, if anybody does.
    watched: Option<WatchedRequest>,
}

#[derive(Debug)]
enum BodySource {
    /// Made here.
    Own(Full<Bytes>),
    /// A worker's, passed through. Boxed, since an answer changes hands often on its way to hyper.
    Passed(Box<Passed>),
}

impl OutBody {
    /// One that was made here.
    pub(crate) fn own(body: Bytes) -> Self {
        Self { source: BodySource::Own(Full::new(body)), watched: None }
    }

    /// A worker's.
    pub(crate) fn passed(passed: Box<Passed>) -> Self {
        Self { source: BodySource::Passed(passed), watched: None }
    }

    /// Keeps what the request holds until the answer ends.
    pub(crate) fn hold(&mut self, held: HeldByAnswer) {
        match &mut self.source {
            BodySource::Passed(passed) => passed.hold(held),
            BodySource::Own(_) => {}
        }
    }

    /// Has the end told.
    pub(crate) fn watch(&mut self, mut watched: WatchedRequest) {
        if let BodySource::Passed(passed) = &self.source {
            watched.account().key = passed.key();
        }
        self.watched = Some(watched);
    }
}

impl Body for OutBody {
    type Data = Bytes;
    type Error = StreamError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, StreamError>>> {
        let this = self.get_mut();
        let polled = match &mut this.source {
            BodySource::Own(body) => match Pin::new(body).poll_frame(cx) {
                Poll::Ready(frame) => Poll::Ready(frame.map(|frame| frame.map_err(|never| match never {}))),
                Poll::Pending => Poll::Pending,
            },
            BodySource::Passed(passed) => passed.poll(cx),
        };
        if let Some(watched) = &mut this.watched
            && let Poll::Ready(Some(Ok(frame))) = &polled
        {
            watched.piece(frame.data_ref().map_or(0, Bytes::len));
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        match &self.source {
            BodySource::Own(body) => body.is_end_stream(),
            BodySource::Passed(passed) => passed.is_end(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.source {
            BodySource::Own(body) => body.size_hint(),
            BodySource::Passed(passed) => passed.size_hint(),
        }
    }
}

impl Drop for OutBody {
    /// Here, since hyper does not ask for more than it needs.
    fn drop(&mut self) {
        let Some(watched) = &mut self.watched else { return };
        let account = watched.account();
        match &self.source {
            BodySource::Own(_) if account.error.is_some() => account.end = End::NoAnswer,
            BodySource::Own(_) => account.end = End::Complete,
            BodySource::Passed(passed) => passed.tell(account),
        }
    }
}
