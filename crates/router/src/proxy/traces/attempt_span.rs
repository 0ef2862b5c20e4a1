//! One attempt at a worker, as a span.

use std::sync::Arc;
use std::time::Instant;

use opentelemetry::trace::{SpanKind, Status};
use opentelemetry::{KeyValue, SpanId};

use crate::proxy::traces::request_trace::{EndedSpan, RequestTrace};
use crate::proxy::traces::trace_parent::new_span;

/// An attempt that is under way. Dropped before it has ended, the client has hung up.
#[derive(Debug)]
pub(crate) struct AttemptSpan {
    trace: Arc<RequestTrace>,
    id: SpanId,
    began: Instant,
    attributes: Vec<KeyValue>,
    status: Status,
}

impl RequestTrace {
    /// An attempt at this worker begins, which is told of it; at `prefill` too, if it is a pair. `reason` is
    /// why it is one more.
    pub(crate) fn attempt(
        self: &Arc<Self>,
        worker: &str,
        prefill: Option<&str>,
        reason: Option<&'static str>,
    ) -> AttemptSpan {
        let id = new_span();
        self.tell(id);
        let mut attributes = vec![KeyValue::new("sgl.worker", worker.to_owned())];
        if let Some(uri) = worker.parse::<http::Uri>().ok().filter(|uri| uri.host().is_some()) {
            attributes.push(KeyValue::new("server.address", uri.host().unwrap_or_default().to_owned()));
            attributes.extend(uri.port_u16().map(|port| KeyValue::new("server.port", i64::from(port))));
        }
        attributes.extend(prefill.map(|worker| KeyValue::new("sgl.prefill_worker", worker.to_owned())));
        attributes.extend(reason.map(|reason| KeyValue::new("sgl.retry_reason", reason)));
        AttemptSpan {
            trace: Arc::clone(self),
            id,
            began: Instant::now(),
            attributes,
            status: Status::error("the client hung up"),
        }
    }
}

impl AttemptSpan {
    /// The worker answered with this status.
    pub(crate) fn answered(mut self, status: u16) {
        self.attributes.push(KeyValue::new("http.response.status_code", i64::from(status)));
        self.status = if status >= 400 { Status::error("") } else { Status::Unset };
    }

    /// There was no answer: the code of the error, and what it says.
    pub(crate) fn failed(mut self, code: &'static str, says: String) {
        self.attributes.push(KeyValue::new("error.type", code));
        self.status = Status::error(says);
    }
}

impl Drop for AttemptSpan {
    fn drop(&mut self) {
        self.trace.add(EndedSpan {
            id: self.id,
            kind: SpanKind::Client,
            name: "attempt".into(),
            began: self.began,
            attributes: std::mem::take(&mut self.attributes),
            status: std::mem::replace(&mut self.status, Status::Unset),
        });
    }
}
