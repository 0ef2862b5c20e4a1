//! The body of an answer on its way to the client.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::{Body, Frame, SizeHint};

use crate::proxy::held_by_answer::HeldByAnswer;
use crate::proxy::passed::Passed;
use crate::proxy::stream_error::StreamError;

/// The body of any answer to a client.
#[derive(Debug)]
pub(crate) enum OutBody {
    /// Made here.
    Own(Full<Bytes>),
    /// A worker's, passed through. Boxed, since an answer changes hands often on its way to hyper.
    Passed(Box<Passed>),
}

impl OutBody {
    /// Keeps what the request holds until the answer ends.
    pub(crate) fn hold(&mut self, held: HeldByAnswer) {
        match self {
            Self::Passed(passed) => passed.hold(held),
            Self::Own(_) => {}
        }
    }
}

impl Body for OutBody {
    type Data = Bytes;
    type Error = StreamError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, StreamError>>> {
        match self.get_mut() {
            Self::Own(body) => match Pin::new(body).poll_frame(cx) {
                Poll::Ready(frame) => Poll::Ready(frame.map(|frame| frame.map_err(|never| match never {}))),
                Poll::Pending => Poll::Pending,
            },
            Self::Passed(passed) => passed.poll(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Own(body) => body.is_end_stream(),
            Self::Passed(passed) => passed.is_end(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Own(body) => body.size_hint(),
            Self::Passed(passed) => passed.size_hint(),
        }
    }
}
