//! Traces of requests for OpenTelemetry's collectors.
//!
//! ```text
//!  client ─ traceparent ─► request span ─┬─ decision span (plugin, generation, worker, reason, scores)
//!                            │           └─ attempt span ─ traceparent ─► worker
//!                            └─ at its end ─► bounded queue ─► task: batches, OTLP over HTTP ─► collector
//! ```
//!
//! Spans are built for requests that are sampled, of what the access log and decision records are made of.
//! The library's own tracer is not used: it would keep a span for each request, sampled or not.

mod trace_parent;
mod span_queue;
mod request_trace;
mod attempt_span;
mod tracer;
mod request_span;
mod span_sender;

pub(crate) use crate::proxy::traces::attempt_span::AttemptSpan;
pub(crate) use crate::proxy::traces::request_trace::RequestTrace;
pub(crate) use crate::proxy::traces::span_sender::SpanSender;
pub(crate) use crate::proxy::traces::trace_parent::TRACEPARENT;
pub(crate) use crate::proxy::traces::tracer::Tracer;
