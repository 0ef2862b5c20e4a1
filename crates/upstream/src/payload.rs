//! The body of a request to a worker.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};

/// A body as it came, perhaps with something behind it: a body that grows is not copied for that.
#[derive(Clone, Debug, Default)]
pub struct Payload {
    body: Bytes,
    tail: Bytes,
}

impl Payload {
    /// `body` and behind it `tail`.
    pub fn with_tail(body: Bytes, tail: Bytes) -> Self {
        Self { body, tail }
    }
}

impl From<Bytes> for Payload {
    fn from(body: Bytes) -> Self {
        Self { body, tail: Bytes::new() }
    }
}

impl Body for Payload {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let Self { body, tail } = self.get_mut();
        let next = std::mem::take(if body.is_empty() { tail } else { body });
        Poll::Ready((!next.is_empty()).then(|| Ok(Frame::data(next))))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_empty() && self.tail.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        let length = self.body.len().saturating_add(self.tail.len());
        SizeHint::with_exact(u64::try_from(length).unwrap_or(u64::MAX))
    }
}
