//! The body of a streamed answer: turns due tokens into frames, without a task or a channel.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use hyper::body::{Body, Frame};

use crate::sim::chunks::ChunkWriter;
use crate::sim::control::Control;
use crate::sim::run::Run;

/// One frame per token, one for the end.
///
/// hyper drops it when the client goes away; that drops the [`Run`] and with it the place.
#[derive(Debug)]
pub(crate) struct TokenStream {
    /// None after the end.
    run: Option<Run>,
    chunks: ChunkWriter,
    frames_until_stall: Option<u64>,
    control: Arc<Control>,
}

impl TokenStream {
    pub(crate) fn new(
        run: Run,
        chunks: ChunkWriter,
        stall_after: Option<u64>,
        control: Arc<Control>,
    ) -> Self {
        Self { run: Some(run), chunks, frames_until_stall: stall_after, control }
    }
}

impl Body for TokenStream {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let this = &mut *self;
        let Some(run) = &mut this.run else {
            return Poll::Ready(None);
        };
        if this.frames_until_stall == Some(0) || this.control.is_silent() {
            // No waker is kept: only the end of the connection ends a stall.
            return Poll::Pending;
        }
        let bytes = match ready!(run.poll_token(cx)) {
            Some(index) => this.chunks.token(index),
            None => {
                let end = this.chunks.end();
                if let Some(run) = this.run.take() {
                    run.finish();
                }
                end
            }
        };
        if let Some(frames) = &mut this.frames_until_stall {
            *frames -= 1;
        }
        Poll::Ready(Some(Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        self.run.is_none()
    }
}
