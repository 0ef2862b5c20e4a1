//! A stream whose head went out before its request had a place: it waits, streams, or says that it was
//! refused.

use std::convert::Infallible;
use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use hyper::body::{Body, Frame};

use crate::sim::stream::TokenStream;

/// Comes to a stream, or to the events of a refusal.
type Beginning = Pin<Box<dyn Future<Output = Result<TokenStream, Bytes>> + Send>>;

/// The body of such an answer.
pub(crate) struct LateStream(LateState);

enum LateState {
    Beginning(Beginning),
    Streaming(Box<TokenStream>),
    Ended,
}

impl LateStream {
    pub(crate) fn new(beginning: impl Future<Output = Result<TokenStream, Bytes>> + Send + 'static) -> Self {
        Self(LateState::Beginning(Box::pin(beginning)))
    }
}

impl fmt::Debug for LateStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LateStream").finish_non_exhaustive()
    }
}

impl Body for LateStream {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if let LateState::Beginning(beginning) = &mut self.0 {
            match ready!(beginning.as_mut().poll(cx)) {
                Ok(stream) => self.0 = LateState::Streaming(Box::new(stream)),
                Err(events) => {
                    self.0 = LateState::Ended;
                    return Poll::Ready(Some(Ok(Frame::data(events))));
                }
            }
        }
        match &mut self.0 {
            LateState::Streaming(stream) => Pin::new(stream.as_mut()).poll_frame(cx),
            LateState::Beginning(_) | LateState::Ended => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            LateState::Streaming(stream) => stream.is_end_stream(),
            LateState::Beginning(_) => false,
            LateState::Ended => true,
        }
    }
}
