//! The body of a worker's answer on its way to the client.

use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use bytes::Bytes;
use http::response;
use hyper::body::{Frame, SizeHint};

use crate::proxy::access_log::RequestAccount;
use crate::proxy::answer_meter::AnswerMeter;
use crate::proxy::client_deadlines::OutOfTime;
use crate::proxy::clients::Client;
use crate::proxy::event_stream::EventScan;
use crate::proxy::headers::tell_record;
use crate::proxy::held_by_answer::HeldByAnswer;
use crate::proxy::listening::Listening;
use crate::proxy::open_end::OpenEnd;
use crate::proxy::placement::{AnswerForm, Placement};
use crate::proxy::prefill_guard::PrefillGuard;
use crate::proxy::route::Route;
use crate::proxy::stream_error::StreamError;
use crate::proxy::stream_tokens::StreamTokens;
use crate::proxy::verdict::Verdict;
use crate::records::Draft;
use sgl_api::End;
use sgl_upstream::AnswerBody;
use sglang_router_rs::core::Worker;

/// A worker's answer. It holds the request in flight until its end; dropped before, it closes the
/// connection to the worker, which tells the worker to stop.
#[derive(Debug)]
pub(crate) struct Passed {
    body: AnswerBody,
    /// Looks for errors in a stream of events.
    events: Option<EventScan>,
    tokens: StreamTokens,
    /// The code of the error that an event told of.
    erred: Option<u16>,
    /// What the policy wants to hear of it.
    listening: Option<Box<Listening>>,
    /// What its numbers add to, if it has any.
    meter: Option<AnswerMeter>,
    /// Whether the next piece was looked at when it was read ahead.
    is_known: bool,
    placement: Placement,
    client: Arc<Client>,
    route: Route,
    /// When the request's head was read.
    started: Instant,
    has_begun: bool,
    prefill: Option<PrefillGuard>,
    record: Option<Box<Draft>>,
    /// How it ended, if it has.
    ended: Option<End>,
    /// Why it broke off, until the client's side has been told.
    broken: Option<StreamError>,
    /// How often the worker had been found dead when this was looked at last.
    deaths: u64,
    open_end: Option<OpenEnd>,
    /// Whether the client's own limit counts, which says nothing against the worker.
    is_hurried: bool,
    held: Option<HeldByAnswer>,
}

impl Passed {
    /// The body of the answer to a request that was read at `started`; its `events` were looked at as
    /// far as it was read ahead.
    pub(crate) fn new(
        body: AnswerBody,
        events: Option<EventScan>,
        placement: Placement,
        client: &Arc<Client>,
        route: Route,
        started: Instant,
    ) -> Box<Self> {
        let deaths = placement.deaths();
        let mut passed = Box::new(Self {
            is_known: !body.held().is_empty(),
            body,
            erred: None,
            events,
            tokens: StreamTokens::default(),
            listening: None,
            meter: None,
            placement,
            client: Arc::clone(client),
            route,
            started,
            has_begun: false,
            prefill: None,
            record: None,
            ended: None,
            held: None,
            broken: None,
            deaths,
            open_end: None,
            is_hurried: false,
        });
        passed.heed_error();
        if passed.body.is_end() {
            passed.complete();
        }
        passed
    }

    /// Keeps what the request holds until the answer ends.
    pub(crate) fn hold(&mut self, held: HeldByAnswer) {
        self.held = Some(held);
        if self.ended.is_some() {
            self.settle();
        }
    }

    /// The name of the key of who asked.
    pub(crate) fn key(&self) -> Option<Arc<str>> {
        self.held.as_ref()?.key().cloned()
    }

    /// Tells of the answer as far as it came.
    pub(crate) fn tell(&self, account: &mut RequestAccount) {
        account.worker = Some(self.placement.target().name().clone());
        account.model = self.meter.as_ref().map(|meter| Arc::clone(meter.model()));
        account.tokens = self.placement.usage();
        account.end = self.ended.unwrap_or(End::ClientGone);
    }

    /// True if nothing more comes.
    pub(crate) fn is_end(&self) -> bool {
        self.body.is_end()
    }

    /// How much is still to come, as far as that is known.
    pub(crate) fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }

    /// Has a cut-off noticed where the body ends with its connection, what the policy wants looked for, and
    /// the answer measured.
    pub(crate) fn attend(
        &mut self,
        end: Option<OpenEnd>,
        listening: Option<Box<Listening>>,
        meter: Option<AnswerMeter>,
    ) {
        (self.open_end, self.listening, self.meter) = (end, listening, meter);
    }

    /// The limits of silence are the client's own.
    pub(crate) fn hurry(&mut self) {
        self.is_hurried = true;
    }

    /// Keeps the prefill half of a pair going until this answer ends.
    pub(crate) fn keep_prefill(&mut self, prefill: PrefillGuard) {
        self.prefill = Some(prefill);
        if self.ended.is_some() {
            self.end_prefill();
        }
    }

    /// Records what comes of the answer, and tells the client in its head under which id.
    pub(crate) fn record(&mut self, mut record: Box<Draft>, head: &mut response::Parts) {
        let refusal = self.events.as_ref().and_then(EventScan::error).filter(|error| error.is_first);
        let status = refusal.map_or(head.status.as_u16(), |error| error.code);
        record.answered(status, self.placement.target().worker().url());
        tell_record(&record, &mut head.headers);
        self.record = Some(record);
        if self.ended.is_some() {
            self.end_record(self.end());
        }
    }

    /// How an answer ended that came whole.
    fn end(&self) -> End {
        if self.erred.is_some() { End::ErrorEvent } else { End::Complete }
    }

    fn end_record(&mut self, end: End) {
        if let Some(record) = self.record.take() {
            let told =
                self.erred.map(|code| format!("an event of the stream told of an error with code {code}"));
            record.end(end, told);
        }
    }

    /// The next piece.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, StreamError>>> {
        if let Some(error) = self.broken.take() {
            return Poll::Ready(Some(Err(error)));
        }
        if self.client.is_late_now() && self.ended.is_none() {
            return self.break_off(OutOfTime.into(), cx);
        }
        match self.body.poll_frame(cx) {
            // Only here: a client that does not read makes a worker look silent that is not.
            Poll::Pending => self.wait(cx),
            Poll::Ready(Some(Ok(frame))) => {
                self.client.heard();
                if !self.has_begun {
                    self.begin();
                }
                if let (Some(end), Some(piece)) = (&mut self.open_end, frame.data_ref()) {
                    end.look(piece);
                }
                self.look(&frame);
                if self.listening.is_some() {
                    self.overhear(&frame);
                }
                if self.record.is_some() {
                    self.note_token();
                }
                // With a known length hyper does not ask again after the last byte, and never after trailers.
                if self.body.is_end() || frame.is_trailers() {
                    self.complete();
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(Some(Err(error))) => self.break_off(error.into(), cx),
            Poll::Ready(None) if self.is_cut() => self.break_off(StreamError::CutOff, cx),
            Poll::Ready(None) => {
                self.complete();
                Poll::Ready(None)
            }
        }
    }

    /// A stream that told of an error may end as it likes.
    fn is_cut(&self) -> bool {
        self.ended.is_none() && self.erred.is_none() && self.open_end.as_ref().is_some_and(OpenEnd::is_cut)
    }

    /// Nothing is there. A worker that was found dead may say something for as long as a
    /// check may take.
    fn wait(&mut self, cx: &Context<'_>) -> Poll<Option<Result<Frame<Bytes>, StreamError>>> {
        let deaths = self.placement.target().deaths();
        if std::mem::replace(&mut self.deaths, deaths) != deaths {
            self.is_hurried = false;
            self.client.wait_for(Some(self.client.proxy().settings().health.timeout));
        }
        if self.client.is_silent_now() && self.ended.is_none() {
            return self.break_off(StreamError::Silent, cx);
        }
        Poll::Pending
    }

    fn begin(&mut self) {
        self.has_begun = true;
        let now = Instant::now();
        let form = if self.events.is_some() { AnswerForm::Events } else { AnswerForm::Whole };
        self.placement.first_byte(now, form);
        if let Some(record) = &mut self.record {
            record.first_byte(now);
        }
        if let Some(meter) = self.meter.as_mut().filter(|_| self.placement.verdict() == Verdict::Served) {
            meter.first_byte(form, now, self.started);
        }
        self.client.proxy().measures().first_byte(self.route, now - self.started);
    }

    /// Looks for an event that tells of an error. The request has failed then, however it goes on.
    fn look(&mut self, frame: &Frame<Bytes>) {
        let Some(events) = &mut self.events else { return };
        if let Some(piece) = frame.data_ref().filter(|_| self.placement.counts_tokens()) {
            self.placement.generated(self.tokens.look(piece));
        }
        let Some(piece) = frame.data_ref().filter(|_| !std::mem::take(&mut self.is_known)) else { return };
        events.look(piece);
        self.heed_error();
    }

    /// Records when the first event came. An error is no first token.
    fn note_token(&mut self) {
        let has_data = self.erred.is_none() && self.events.as_ref().is_some_and(EventScan::has_data);
        let record = self.record.as_mut().filter(|record| has_data && record.awaits_token());
        if let Some(record) = record.filter(|_| self.placement.verdict() == Verdict::Served) {
            record.first_token(Instant::now());
        }
    }

    /// Looks for what the policy wants to hear. An error is no first token.
    fn overhear(&mut self, frame: &Frame<Bytes>) {
        let Some(listening) = &mut self.listening else { return };
        listening.look(frame);
        let has_data = self.erred.is_none() && self.events.as_ref().is_some_and(EventScan::has_data);
        if listening.has_begun(has_data) {
            self.placement.first_token(Instant::now());
        }
    }

    /// Tells the placement of an error that an event told of. What the stream began with it knows.
    fn heed_error(&mut self) {
        if self.erred.is_none()
            && let Some(error) = self.events.as_ref().and_then(EventScan::error)
        {
            self.erred = Some(error.code);
            if self.has_begun || !error.is_first {
                self.placement.answered(error.code, || None);
            }
        }
    }

    /// The whole answer came.
    fn complete(&mut self) {
        if self.ended.is_some() {
            return;
        }
        if let Some(events) = &mut self.events {
            events.end();
            if events.is_empty() {
                return self.end_in_vain();
            }
        }
        self.heed_error();
        if let Some(listening) = &self.listening {
            let usage = listening.usage(self.client.proxy().token_ratios());
            self.placement.used(usage);
            if let Some(record) = &mut self.record {
                record.used([usage.prompt_tokens, usage.completion_tokens, usage.cached_tokens]);
            }
        }
        if let Some(meter) = self.meter.as_ref().filter(|_| self.erred.is_none()) {
            meter.complete(self.listening.as_deref(), &self.placement);
        }
        self.placement.complete();
        if let Some(connection) = self.body.reclaim() {
            self.placement.target().pool().put(connection);
        }
        self.end_prefill();
        if self.erred.is_some() {
            self.client.proxy().measures().told_error(self.route);
        }
        self.finish(self.end());
    }

    /// A stream of events ended in order and without one: the worker broke it off, whatever it says.
    fn end_in_vain(&mut self) {
        self.placement.fail();
        self.client.proxy().measures().broke_off(self.route);
        self.end_prefill();
        self.finish(End::BrokeOff);
    }

    /// The prefill half goes on to its end if the decode half has served the request; otherwise
    /// nobody is left to hand anything over to.
    fn end_prefill(&mut self) {
        if let Some(prefill) = self.prefill.take()
            && self.placement.verdict() == Verdict::Served
        {
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
        if self.ended.is_none() {
            if !(self.is_hurried && matches!(error, StreamError::Silent)) {
                self.placement.fail();
            }
            self.client.proxy().measures().broke_off(self.route);
            self.finish(End::BrokeOff);
        }
        self.broken = Some(error);
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Gives back what the request held.
    fn settle(&mut self) {
        let events = self.listening.as_deref().map_or(0, Listening::events);
        if let Some(held) = self.held.take() {
            let is_served = !matches!(self.placement.verdict(), Verdict::Refused | Verdict::Full);
            held.settle(self.placement.usage(), events, is_served);
        }
    }

    fn finish(&mut self, end: End) {
        self.ended = Some(end);
        self.settle();
        self.end_record(end);
        let now = Instant::now();
        self.client.end(now);
        self.client.proxy().measures().finished(self.route, now - self.started);
    }
}

impl Drop for Passed {
    fn drop(&mut self) {
        if self.ended.is_none() {
            self.client.proxy().measures().disconnected(self.route);
            self.finish(End::ClientGone);
        }
    }
}
