//! The body of an answer on its way to the client.

use std::pin::Pin;
use std::sync::Arc;
use std::task::Context;
use std::task::Poll;
use std::time::Duration;
use std::time::Instant;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Body;
use hyper::body::Frame;
use hyper::body::SizeHint;

use crate::core::Worker;
use crate::policies::Policy;
use crate::policies::RequestCompletion;
use crate::proxy::clients::Client;
use crate::proxy::clients::OutOfTime;
use crate::proxy::prefill::PrefillGuard;
use crate::proxy::route::Route;
use crate::proxy::target::Placement;
use crate::proxy::upstream::AnswerBody;

/// The body of any answer to a client.
#[derive(Debug)]
pub enum OutBody {
    /// Made here.
    Own(Full<Bytes>),
    /// A worker's, passed through.
    Passed(Passed),
}

/// An answer that breaks off. hyper closes the client's connection, which is how HTTP/1.1 says so.
#[derive(Debug, thiserror::Error)]
pub enum StreamError {
    /// The worker broke off.
    #[error("the worker's answer broke off")]
    Upstream(#[from] hyper::Error),
    /// The request is out of time.
    #[error("the request is out of time")]
    OutOfTime,
}

impl From<OutOfTime> for StreamError {
    fn from(_: OutOfTime) -> Self {
        Self::OutOfTime
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
            Self::Passed(passed) => passed.body.is_end(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Own(body) => body.size_hint(),
            Self::Passed(passed) => passed.body.size_hint(),
        }
    }
}

/// When a request came and when it was sent on.
#[derive(Clone, Copy, Debug)]
pub struct Times {
    /// The request's head was read.
    pub started: Instant,
    /// The request was sent to the worker that answered.
    pub sent: Instant,
}

/// A worker's answer. It holds the request in flight until its end; dropped before, it closes the
/// connection to the worker, which tells the worker to stop.
#[derive(Debug)]
pub struct Passed {
    body: AnswerBody,
    placement: Placement,
    client: Arc<Client>,
    route: Route,
    times: Times,
    /// Time from sending to the first byte.
    first_byte: Option<Duration>,
    success: bool,
    prefill: Option<PrefillGuard>,
    ended: bool,
    /// Why it broke off, until the client's side has been told.
    broken: Option<StreamError>,
}

impl Passed {
    /// The body of an answer whose head counts as a `success` or not.
    pub fn new(
        body: AnswerBody,
        placement: Placement,
        client: &Arc<Client>,
        route: Route,
        times: Times,
        success: bool,
    ) -> Self {
        let client = Arc::clone(client);
        let mut passed = Self {
            body,
            placement,
            client,
            route,
            times,
            first_byte: None,
            success,
            prefill: None,
            ended: false,
            broken: None,
        };
        if passed.body.is_end() {
            passed.complete();
        }
        passed
    }

    /// Keeps the prefill half of a pair going until this answer ends.
    pub fn with_prefill(mut self, prefill: PrefillGuard) -> Self {
        self.prefill = Some(prefill);
        if self.ended {
            self.release_prefill();
        }
        self
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, StreamError>>> {
        if let Some(error) = self.broken.take() {
            return Poll::Ready(Some(Err(error)));
        }
        if self.client.is_late_now() && !self.ended {
            return self.break_off(OutOfTime.into(), cx);
        }
        match self.body.poll_frame(cx) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Some(Ok(frame))) => {
                if self.first_byte.is_none() {
                    self.observe_first_byte();
                }
                // With a known length hyper does not ask again after the last byte.
                if self.body.is_end() {
                    self.complete();
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(Some(Err(error))) => self.break_off(error.into(), cx),
            Poll::Ready(None) => {
                self.complete();
                Poll::Ready(None)
            }
        }
    }

    fn observe_first_byte(&mut self) {
        let now = Instant::now();
        let since_sent = now - self.times.sent;
        self.first_byte = Some(since_sent);
        self.client.proxy().measures().first_byte(self.route, now - self.times.started);
        if self.success {
            self.placement.target().worker().observe_latency(since_sent.as_secs_f32() * 1e3);
        }
    }

    /// The whole answer came.
    fn complete(&mut self) {
        if self.ended {
            return;
        }
        if let Some(connection) = self.body.reclaim() {
            self.placement.target().pool().put(connection);
        }
        self.release_prefill();
        self.finish();
    }

    fn release_prefill(&mut self) {
        if let Some(prefill) = self.prefill.take() {
            prefill.release();
        }
    }

    /// The worker or the clock ended it. The error is told one poll later: hyper drops what it
    /// has not written when a body fails, and writes it when a body makes it wait.
    fn break_off(
        &mut self,
        error: StreamError,
        cx: &Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, StreamError>>> {
        if !self.ended {
            self.success = false;
            self.placement.fail();
            self.client.proxy().measures().broke_off(self.route);
            self.finish();
        }
        self.broken = Some(error);
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    fn finish(&mut self) {
        self.ended = true;
        let now = Instant::now();
        self.client.end(now);
        let proxy = self.client.proxy();
        proxy.measures().finished(self.route, now - self.times.started);
        // Native policies do not listen, and the message needs an allocation.
        if !matches!(proxy.policy(), Policy::Native(_)) {
            proxy.policy().on_request_complete(&RequestCompletion {
                worker_url: self.placement.target().worker().url().to_owned(),
                success: self.success,
                first_byte: self.first_byte,
                total: now - self.times.sent,
                prompt_tokens: None,
                completion_tokens: None,
            });
        }
    }
}

impl Drop for Passed {
    fn drop(&mut self) {
        if !self.ended {
            self.success = false;
            self.client.proxy().measures().disconnected(self.route);
            self.finish();
        }
    }
}
