//! What an API may send: an answer, or one line of a watch, is read up to a bound.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf, Bytes};
use http::{Request, Response, Uri};
use hyper::body::{Body, Frame, SizeHint};
use tower::Service;

/// Most bytes of an answer: a page of 500 pods has some 10 MB where pods are large.
const MAX_ANSWER_BYTES: usize = 64 << 20;

/// Most bytes of one line of a watch: etcd keeps no object of more than 1.5 MiB.
const MAX_LINE_BYTES: usize = 8 << 20;

/// What a body fails with that is larger than that. It reaches whoever reads it as part of an error's text.
pub(crate) const TOO_LARGE: &str = "more than is read of an API";

type AnswerFault = Box<dyn std::error::Error + Send + Sync>;

/// Asks an API, and reads a bounded part of what it says.
#[derive(Clone, Debug)]
pub(crate) struct BoundedApi<S> {
    inner: S,
}

impl<S> BoundedApi<S> {
    /// Around what asks.
    pub(crate) fn new(inner: S) -> Self {
        Self { inner }
    }
}

impl<S, R, B> Service<Request<R>> for BoundedApi<S>
where
    S: Service<Request<R>, Response = Response<B>>,
    S::Future: Send + 'static,
{
    type Response = Response<BoundedBody<B>>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<R>) -> Self::Future {
        let bound = if is_watch(request.uri()) { Bound::Line } else { Bound::Whole };
        let answer = self.inner.call(request);
        Box::pin(async move {
            Ok(answer.await?.map(|body| BoundedBody { body: Box::pin(body), bound, taken: 0 }))
        })
    }
}

fn is_watch(uri: &Uri) -> bool {
    let parameters = uri.query().unwrap_or_default();
    parameters.split('&').any(|parameter| matches!(parameter, "watch=true" | "watch=1"))
}

/// What is bounded.
#[derive(Clone, Copy, Debug)]
enum Bound {
    /// All of it.
    Whole,
    /// Each line of what has no end.
    Line,
}

impl Bound {
    fn bytes(self) -> usize {
        match self {
            Self::Whole => MAX_ANSWER_BYTES,
            Self::Line => MAX_LINE_BYTES,
        }
    }
}

/// A body that fails once it is larger than it may be.
#[derive(Debug)]
pub(crate) struct BoundedBody<B> {
    body: Pin<Box<B>>,
    bound: Bound,
    /// Bytes that were read of what is bounded.
    taken: usize,
}

impl<B> BoundedBody<B> {
    /// Counts bytes. False if there are too many.
    fn takes(&mut self, bytes: &[u8]) -> bool {
        let newline = match self.bound {
            Bound::Whole => None,
            Bound::Line => bytes.iter().rposition(|byte| *byte == b'\n'),
        };
        self.taken = match newline {
            Some(at) => bytes.len() - at - 1,
            None => self.taken.saturating_add(bytes.len()),
        };
        self.taken <= self.bound.bytes()
    }
}

impl<B> Body for BoundedBody<B>
where
    B: Body<Data = Bytes>,
    B::Error: Into<AnswerFault>,
{
    type Data = Bytes;
    type Error = AnswerFault;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, AnswerFault>>> {
        let polled = self.body.as_mut().poll_frame(cx);
        if let Poll::Ready(Some(Ok(frame))) = &polled
            && let Some(data) = frame.data_ref()
            && !self.takes(data.chunk())
        {
            let (what, mib) = match self.bound {
                Bound::Whole => ("an answer", MAX_ANSWER_BYTES >> 20),
                Bound::Line => ("a line of a watch", MAX_LINE_BYTES >> 20),
            };
            let text =
                format!("{what} has {TOO_LARGE} ({mib} MiB): a narrower selector or a namespace helps");
            return Poll::Ready(Some(Err(text.into())));
        }
        polled.map_err(Into::into)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn watch_may_have_any_number_of_lines_and_none_that_is_too_long() {
        let mut body = BoundedBody { body: Box::pin(()), bound: Bound::Line, taken: 0 };
        let line = [vec![b'x'; MAX_LINE_BYTES / 2], b"\n".to_vec()].concat();
        assert!((0..5).all(|_| body.takes(&line)));
        assert!(body.takes(&vec![b'x'; MAX_LINE_BYTES]));
        assert!(!body.takes(b"x"), "it has no newline");
        assert!(body.takes(b"\nx"));
        let mut body = BoundedBody { body: Box::pin(()), bound: Bound::Whole, taken: 0 };
        assert!(body.takes(&vec![b'\n'; MAX_ANSWER_BYTES]) && !body.takes(b"\n"));
        let is_watch = |uri: &str| is_watch(&uri.parse().unwrap());
        assert!(
            is_watch("/api/v1/pods?&watch=true&x=1") && !is_watch("/api/v1/pods?labelSelector=watch%3Dtrue")
        );
    }
}
