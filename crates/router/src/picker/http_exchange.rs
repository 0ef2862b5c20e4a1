//! One request and its answer, as one stream of Envoy's tells them.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use envoy_types::pb::envoy::config::core::v3::Metadata;
use envoy_types::pb::envoy::service::ext_proc::v3::processing_request::Request as Asked;
use envoy_types::pb::envoy::service::ext_proc::v3::processing_response::Response as Told;
use envoy_types::pb::envoy::service::ext_proc::v3::{
    HttpBody, HttpHeaders, ProcessingRequest, ProcessingResponse,
};
use http::request;

use crate::picker::body_back::BodyBack;
use crate::picker::body_mode::{BodyMode, Reaction, RequestPart, RequestPhase};
use crate::picker::messages;
use crate::picker::messages::Direction;
use crate::picker::owed_answers::OwedAnswers;
use crate::picker::picks;
use crate::picker::request_head::{allowed, answer_head, request_head, served};
use crate::picker::stream_counts::{OpenStream, StreamEnd};
use crate::proxy::carried::{CarriedPlacer, CarriedRequest, HeldBody, PlaceOrder};

/// Bytes of a body that are held back for the policy, at most: far above what is read of a prompt.
const MAX_HELD_BYTES: usize = 16 << 20;

/// One request and its answer.
#[derive(Debug)]
pub(crate) struct HttpExchange {
    placer: Arc<CarriedPlacer>,
    stream: OpenStream,
    answer_mode: BodyMode,
    phase: RequestPhase,
    wants_body: bool,
    started: Instant,
    head: Option<request::Parts>,
    /// The addresses of the only workers that may be picked.
    allowed: Option<Vec<String>>,
    /// What is held back of the body.
    held: Vec<u8>,
    /// The room that it takes.
    room: HeldBody,
    /// Dropped with the exchange: until then the request is in flight.
    carried: Option<Box<CarriedRequest>>,
    answer_is_through: bool,
    answers: OwedAnswers,
}

impl HttpExchange {
    /// Nothing came yet.
    pub(crate) fn new(placer: Arc<CarriedPlacer>, stream: OpenStream) -> Self {
        Self {
            room: placer.proxy().pressure().body(),
            placer,
            stream,
            answer_mode: BodyMode::default(),
            phase: RequestPhase::default(),
            wants_body: false,
            started: Instant::now(),
            head: None,
            allowed: None,
            held: Vec::new(),
            carried: None,
            answer_is_through: false,
            answers: OwedAnswers::default(),
        }
    }

    /// The next answer that is owed.
    pub(crate) fn next_answer(&mut self) -> Option<ProcessingResponse> {
        self.answers.pop()
    }

    /// True while a body is held back.
    pub(crate) fn is_holding(&self) -> bool {
        self.phase == RequestPhase::Unpicked && self.stream.mode == BodyMode::FullDuplex
    }

    /// Takes a message.
    pub(crate) async fn take(&mut self, message: ProcessingRequest) {
        let ProcessingRequest { metadata_context, observability_mode, protocol_config, request, .. } =
            message;
        if let Some(config) = protocol_config {
            self.stream.mode = BodyMode::of(config.request_body_mode);
            self.answer_mode = BodyMode::of(config.response_body_mode);
        }
        // Envoy only shows its requests then, and takes no answer.
        if observability_mode {
            return;
        }
        let metadata = metadata_context.as_ref();
        match request {
            Some(Asked::RequestHeaders(head)) => self.request_head(head, metadata).await,
            Some(Asked::RequestBody(body)) => self.request_body(body).await,
            Some(Asked::RequestTrailers(_)) => self.request_part(RequestPart::Trailers, Vec::new()).await,
            Some(Asked::ResponseHeaders(head)) => self.answer_head(head, metadata),
            Some(Asked::ResponseBody(body)) => self.answer_body(body),
            Some(Asked::ResponseTrailers(_)) => self.answer_trailers(),
            None => {}
        }
    }

    async fn request_head(&mut self, told: HttpHeaders, metadata: Option<&Metadata>) {
        let part = RequestPart::Head { is_last: told.end_of_stream };
        if self.phase == RequestPhase::Awaited {
            let head = request_head(told.headers);
            self.wants_body = !told.end_of_stream && self.placer.wants_body(head.uri.path());
            self.head = Some(head);
            self.started = Instant::now();
            self.allowed = allowed(metadata);
        }
        self.request_part(part, Vec::new()).await;
    }

    async fn request_body(&mut self, told: HttpBody) {
        let is_last = told.end_of_stream || told.end_of_stream_without_message;
        self.request_part(RequestPart::Body { is_last }, told.body).await;
    }

    async fn request_part(&mut self, part: RequestPart, bytes: Vec<u8>) {
        let (reaction, phase) = self.stream.mode.react(self.phase, part, self.wants_body);
        self.phase = phase;
        let is_last = part == RequestPart::Body { is_last: true };
        match reaction {
            Reaction::Pick => self.pick(part, bytes).await,
            Reaction::Pass => self.answers.push(passed(part)),
            Reaction::Hold => {
                self.held.extend_from_slice(&bytes);
                // Without room the policy sees what is there by now; the request goes on all the same.
                let has_room = self.room.grow(bytes.len() as u64).is_ok();
                if !has_room || self.held.len() > MAX_HELD_BYTES {
                    self.release().await;
                }
            }
            Reaction::Release => {
                self.held.extend_from_slice(&bytes);
                // What came is in memory, whatever is said: it goes back from here.
                let _ = self.room.grow(bytes.len() as u64);
                self.give_back(is_last, is_last || part == RequestPart::Trailers).await;
                if part == RequestPart::Trailers {
                    self.answers.push(messages::trailers(Direction::Request));
                }
            }
            Reaction::Echo => self.echo(Direction::Request, bytes, is_last),
            Reaction::Ignore => {}
        }
    }

    /// The worker is picked for what is held, and that goes back, although more comes.
    pub(crate) async fn release(&mut self) {
        self.phase = RequestPhase::Picked;
        self.give_back(false, false).await;
    }

    async fn give_back(&mut self, is_last: bool, is_whole: bool) {
        let body = Bytes::from(std::mem::take(&mut self.held));
        let room = std::mem::replace(&mut self.room, self.placer.proxy().pressure().body());
        if !self.place(body.clone(), !is_whole).await {
            return;
        }
        if let Some(carried) = self.carried.as_deref() {
            self.answers.push(messages::picked_head(carried));
        }
        if is_last || !body.is_empty() {
            self.answers.push_body(BodyBack::new(Direction::Request, body, is_last, Some(room)));
        }
    }

    /// What came goes back as it is.
    fn echo(&mut self, direction: Direction, bytes: Vec<u8>, is_last: bool) {
        self.answers.push_body(BodyBack::new(direction, bytes.into(), is_last, None));
    }

    async fn pick(&mut self, part: RequestPart, bytes: Vec<u8>) {
        let is_cut = part == RequestPart::Body { is_last: false };
        // Without room for it the policy sees none of the body; the request goes on all the same.
        let has_room = self.room.grow(bytes.len() as u64).is_ok();
        let body = if has_room { bytes.into() } else { Bytes::new() };
        let is_picked = self.place(body, is_cut || !has_room).await;
        self.room.give_back();
        let Some(carried) = self.carried.as_deref().filter(|_| is_picked) else { return };
        self.answers.push(match part {
            RequestPart::Head { .. } => messages::picked_head(carried),
            RequestPart::Body { .. } | RequestPart::Trailers => messages::picked_body(carried),
        });
    }

    /// Picks a worker, with room taken for the body by now. False if the request is refused, which is told then.
    async fn place(&mut self, body: Bytes, is_cut: bool) -> bool {
        let Some(head) = self.head.take() else { return false };
        let order =
            PlaceOrder { head, body, is_cut, started: self.started, allowed: self.allowed.as_deref() };
        match self.placer.place(order).await {
            Ok(carried) => {
                self.stream.end = StreamEnd::Picked;
                self.carried = Some(carried);
                true
            }
            Err(refusal) => {
                let told = Told::ImmediateResponse(picks::refusal(refusal));
                self.answers.push(messages::message(told));
                false
            }
        }
    }

    fn answer_head(&mut self, told: HttpHeaders, metadata: Option<&Metadata>) {
        let (status, headers) = answer_head(told.headers);
        let carried = self.carried.as_mut().zip(status);
        let added = carried.map(|(carried, status)| carried.answered(status, &headers, served(metadata)));
        if self.stream.end == StreamEnd::Picked {
            self.stream.end = StreamEnd::Answered;
        }
        if told.end_of_stream {
            self.answer_seen(true);
        }
        self.answers.push(messages::head(Direction::Response, added.as_ref().and_then(picks::headers)));
    }

    fn answer_body(&mut self, told: HttpBody) {
        let is_last = told.end_of_stream || told.end_of_stream_without_message;
        if self.answer_mode != BodyMode::FullDuplex {
            self.answers.push(messages::body(Direction::Response, None));
        } else if !self.answer_is_through {
            self.echo(Direction::Response, told.body, is_last);
        }
        self.answer_seen(is_last);
    }

    fn answer_trailers(&mut self) {
        self.answer_seen(true);
        self.answers.push(messages::trailers(Direction::Response));
    }

    /// A part of the answer was seen, perhaps the last one.
    fn answer_seen(&mut self, is_last: bool) {
        self.answer_is_through |= is_last;
        if let Some(carried) = &mut self.carried {
            carried.body(is_last);
            if is_last {
                self.stream.end = StreamEnd::Complete;
            }
        }
    }
}

/// An answer with nothing in it.
fn passed(part: RequestPart) -> ProcessingResponse {
    match part {
        RequestPart::Head { .. } => messages::head(Direction::Request, None),
        RequestPart::Body { .. } => messages::body(Direction::Request, None),
        RequestPart::Trailers => messages::trailers(Direction::Request),
    }
}
