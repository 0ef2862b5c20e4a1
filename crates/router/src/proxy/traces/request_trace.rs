//! The trace of one request while it is under way.

use std::borrow::Cow;
use std::str::FromStr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Instant, SystemTime};

use http::HeaderValue;
use opentelemetry::trace::{SpanContext, SpanKind, Status, TraceState};
use opentelemetry::{Array, InstrumentationScope, KeyValue, SpanId, StringValue, TraceFlags, Value};
use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanLinks};
use parking_lot::Mutex;

use crate::proxy::traces::trace_parent::{TraceParent, new_span};
use crate::records::HearsDecisions;
use sgl_api::{CandidateRecord, DecisionRecord};

/// Spans below that of the request, at most: one that waits may be decided about very often.
const MAX_SPANS: usize = 64;

/// Workers whose scores a span tells, those with the highest.
const MAX_SCORES: usize = 16;

/// A request whose trace is sampled.
///
/// # Concurrency
///
/// One task serves a request; the lock is for the compiler.
#[derive(Debug)]
pub(crate) struct RequestTrace {
    own: TraceParent,
    parent: Option<SpanId>,
    state: TraceState,
    scope: InstrumentationScope,
    started: Instant,
    time: SystemTime,
    /// The span that workers are told of.
    told: AtomicU64,
    spans: Mutex<Vec<SpanData>>,
}

/// A span that is over, but for what all of a trace have.
#[derive(Debug)]
pub(in crate::proxy::traces) struct EndedSpan {
    pub(in crate::proxy::traces) id: SpanId,
    pub(in crate::proxy::traces) kind: SpanKind,
    pub(in crate::proxy::traces) name: Cow<'static, str>,
    pub(in crate::proxy::traces) began: Instant,
    pub(in crate::proxy::traces) attributes: Vec<KeyValue>,
    pub(in crate::proxy::traces) status: Status,
}

impl RequestTrace {
    /// Of a request whose head came at `started`: its own span, and whose child that is. `state` is what the
    /// client's vendors have to say.
    pub(in crate::proxy::traces) fn new(
        own: TraceParent,
        parent: Option<SpanId>,
        state: Option<&str>,
        scope: &InstrumentationScope,
        started: Instant,
    ) -> Self {
        Self {
            own,
            parent,
            state: state.and_then(|state| TraceState::from_str(state).ok()).unwrap_or_default(),
            scope: scope.clone(),
            started,
            time: SystemTime::now() - started.elapsed(),
            told: AtomicU64::new(u64::from_be_bytes(own.span.to_bytes())),
            spans: Mutex::default(),
        }
    }

    /// What a worker is told.
    pub(crate) fn header(&self) -> HeaderValue {
        // Relaxed: set by the same task.
        let span = SpanId::from(self.told.load(Ordering::Relaxed));
        TraceParent { span, ..self.own }.header()
    }

    /// Workers are told of this span from now on.
    pub(in crate::proxy::traces) fn tell(&self, span: SpanId) {
        self.told.store(u64::from_be_bytes(span.to_bytes()), Ordering::Relaxed);
    }

    /// Adds a span that ends now.
    pub(in crate::proxy::traces) fn add(&self, span: EndedSpan) {
        let mut spans = self.spans.lock();
        if spans.len() < MAX_SPANS {
            spans.push(self.built(span, self.own.span, false));
        }
    }

    /// All spans, with that of the request, which ends now.
    pub(in crate::proxy::traces) fn end(&self, span: EndedSpan, events: SpanEvents) -> Vec<SpanData> {
        let mut spans = std::mem::take(&mut *self.spans.lock());
        let mut own = self.built(span, self.parent.unwrap_or(SpanId::INVALID), self.parent.is_some());
        own.events = events;
        spans.push(own);
        spans
    }

    /// The id of the span of the request, and when it began.
    pub(in crate::proxy::traces) fn root(&self) -> (SpanId, Instant) {
        (self.own.span, self.started)
    }

    /// The time at this moment of the request.
    pub(in crate::proxy::traces) fn time_at(&self, moment: Instant) -> SystemTime {
        self.time + moment.saturating_duration_since(self.started)
    }

    fn built(&self, span: EndedSpan, parent: SpanId, is_remote: bool) -> SpanData {
        let context =
            SpanContext::new(self.own.trace, span.id, TraceFlags::SAMPLED, false, self.state.clone());
        SpanData {
            span_context: context,
            parent_span_id: parent,
            parent_span_is_remote: is_remote,
            span_kind: span.kind,
            name: span.name,
            start_time: self.time_at(span.began),
            end_time: self.time_at(Instant::now()),
            attributes: span.attributes,
            dropped_attributes_count: 0,
            events: SpanEvents::default(),
            links: SpanLinks::default(),
            status: span.status,
            instrumentation_scope: self.scope.clone(),
        }
    }
}

impl HearsDecisions for RequestTrace {
    fn decided(&self, policy: &str, decision: &DecisionRecord, began: Instant) {
        let failure = decision.failure.clone();
        self.add(EndedSpan {
            id: new_span(),
            kind: SpanKind::Internal,
            name: "decision".into(),
            began,
            attributes: attributes_of(policy, decision),
            status: failure.map_or(Status::Unset, Status::error),
        });
    }
}

fn attributes_of(policy: &str, decision: &DecisionRecord) -> Vec<KeyValue> {
    let mut attributes = vec![
        KeyValue::new("sgl.policy", policy.to_owned()),
        KeyValue::new("sgl.chooser", decision.chooser.as_str()),
        KeyValue::new("sgl.workers", count(decision.workers)),
    ];
    let url = |index: &usize| {
        let candidate = decision.candidates.iter().find(|candidate| candidate.index == *index)?;
        Some(StringValue::from(candidate.url.clone()))
    };
    let chosen: Vec<StringValue> = decision.chosen.iter().filter_map(url).collect();
    if !chosen.is_empty() {
        attributes.push(KeyValue::new("sgl.chosen", Value::Array(Array::String(chosen))));
    }
    let generation = decision.generation.and_then(|generation| i64::try_from(generation).ok());
    attributes.extend(generation.map(|number| KeyValue::new("sgl.generation", number)));
    let texts = [
        ("sgl.reason", &decision.reason),
        ("sgl.failure", &decision.failure),
        ("sgl.failure_detail", &decision.failure_detail),
    ];
    for (key, text) in texts {
        attributes.extend(text.clone().map(|text| KeyValue::new(key, text)));
    }
    if let Some(wait) = &decision.wait {
        attributes.push(KeyValue::new("sgl.had_wait", true));
        let at_most = wait.at_most_ms.and_then(|millis| i64::try_from(millis).ok());
        attributes.extend(at_most.map(|millis| KeyValue::new("sgl.wait_at_most_ms", millis)));
    }
    attributes.extend(scores(&decision.candidates));
    attributes
}

/// The highest scores and whose they are, in two lists of one order.
fn scores(candidates: &[CandidateRecord]) -> Vec<KeyValue> {
    let mut scored: Vec<(f32, &str)> =
        candidates.iter().filter_map(|candidate| Some((candidate.score?, candidate.url.as_str()))).collect();
    if scored.is_empty() {
        return Vec::new();
    }
    scored.sort_by(|a, b| b.0.total_cmp(&a.0));
    scored.truncate(MAX_SCORES);
    let urls = scored.iter().map(|(_, url)| StringValue::from((*url).to_owned())).collect();
    let values = scored.iter().map(|(score, _)| f64::from(*score)).collect();
    vec![
        KeyValue::new("sgl.scored", Value::Array(Array::String(urls))),
        KeyValue::new("sgl.scores", Value::Array(Array::F64(values))),
    ]
}

/// A count as attributes have it.
pub(in crate::proxy::traces) fn count(value: usize) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}
