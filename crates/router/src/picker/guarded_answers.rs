//! A stream of answers that ends in order only when it may.

use std::pin::Pin;
use std::task::{Context, Poll};

use futures_util::Stream;
use tonic::Status;

/// What a stream of answers goes on with.
#[derive(Debug)]
pub(crate) enum StreamStep<T> {
    /// An answer.
    Answer(T),
    /// The other side has ended the stream: nothing is owed any more.
    Done,
}

/// Answers of a stream. If they end before the other side has ended the stream, it ends with an error.
///
/// To gRPC a stream that ends is one that went well, whatever made it end: a sender that was dropped, an
/// early return. Envoy believes it, and goes on with as much of the body as it has.
#[derive(Debug)]
pub(crate) struct GuardedAnswers<S> {
    steps: S,
    is_over: bool,
}

impl<S> GuardedAnswers<S> {
    /// Guards these.
    pub(crate) fn new(steps: S) -> Self {
        Self { steps, is_over: false }
    }
}

impl<T, S: Stream<Item = Result<StreamStep<T>, Status>> + Unpin> Stream for GuardedAnswers<S> {
    type Item = Result<T, Status>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.is_over {
            return Poll::Ready(None);
        }
        let step = std::task::ready!(Pin::new(&mut self.steps).poll_next(cx));
        self.is_over = !matches!(step, Some(Ok(StreamStep::Answer(_))));
        Poll::Ready(match step {
            Some(Ok(StreamStep::Answer(answer))) => Some(Ok(answer)),
            Some(Ok(StreamStep::Done)) => None,
            Some(Err(status)) => Some(Err(status)),
            None => Some(Err(Status::internal("the picker gave up this request"))),
        })
    }
}

#[cfg(test)]
mod tests {
    use futures_util::StreamExt;
    use futures_util::stream;
    use tonic::Code;

    use super::*;

    async fn told(steps: Vec<Result<StreamStep<u32>, Status>>) -> Vec<Result<u32, Code>> {
        let all: Vec<_> = GuardedAnswers::new(stream::iter(steps)).collect().await;
        all.into_iter().map(|answer| answer.map_err(|status| status.code())).collect()
    }

    #[tokio::test]
    async fn stream_that_stops_early_ends_with_an_error() {
        assert_eq!(told(vec![]).await, [Err(Code::Internal)]);
        let one = vec![Ok(StreamStep::Answer(1))];
        assert_eq!(told(one).await, [Ok(1), Err(Code::Internal)]);
    }

    #[tokio::test]
    async fn stream_that_the_other_side_ended_ends_in_order() {
        let steps = vec![Ok(StreamStep::Answer(1)), Ok(StreamStep::Done), Ok(StreamStep::Answer(2))];
        assert_eq!(told(steps).await, [Ok(1)]);
    }

    #[tokio::test]
    async fn error_is_told_once_and_nothing_after_it() {
        let steps = vec![Err(Status::cancelled("")), Ok(StreamStep::Answer(2))];
        assert_eq!(told(steps).await, [Err(Code::Cancelled)]);
    }
}
