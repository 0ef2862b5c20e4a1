//! Which requests are traced.

use std::sync::Arc;
use std::time::Instant;

use http::HeaderMap;
use opentelemetry::{InstrumentationScope, TraceId};

use crate::proxy::traces::request_trace::RequestTrace;
use crate::proxy::traces::span_queue::SpanQueue;
use crate::proxy::traces::trace_parent::{TRACEPARENT, TRACESTATE, TraceParent, new_span};

/// Begins traces.
#[derive(Debug)]
pub(crate) struct Tracer {
    /// The share of the requests that begin a trace of their own.
    sample: f64,
    scope: InstrumentationScope,
    queue: SpanQueue,
}

impl Tracer {
    /// Traces this share of the requests that belong to no trace, and of the others those that are sampled.
    pub(crate) fn new(sample: f64, queue: SpanQueue) -> Self {
        let scope =
            InstrumentationScope::builder("sgl-router").with_version(env!("CARGO_PKG_VERSION")).build();
        Self { sample, scope, queue }
    }

    /// The trace of a request with these headers, if it is sampled. The headers tell workers of it from now
    /// on, also of one that is not sampled: they are not to begin one of their own.
    pub(crate) fn begin(&self, headers: &mut HeaderMap, started: Instant) -> Option<Arc<RequestTrace>> {
        let parent = TraceParent::read(headers);
        let is_sampled = parent
            .map_or_else(|| self.sample > 0.0 && fastrand::f64() < self.sample, |known| known.is_sampled);
        if parent.is_some() && !is_sampled {
            return None;
        }
        let trace = parent.map_or_else(|| TraceId::from(fastrand::u128(1..)), |parent| parent.trace);
        let own = TraceParent { trace, span: new_span(), is_sampled };
        if parent.is_none() {
            headers.remove(TRACESTATE);
        }
        headers.insert(TRACEPARENT, own.header());
        let state = headers.get(TRACESTATE).and_then(|state| state.to_str().ok());
        let parent = parent.map(|parent| parent.span);
        is_sampled.then(|| Arc::new(RequestTrace::new(own, parent, state, &self.scope, started)))
    }

    /// Sends the spans of a trace that is over.
    pub(crate) fn queue(&self) -> &SpanQueue {
        &self.queue
    }
}
