//! The span of a request, of all that there is to tell of it.

use opentelemetry::KeyValue;
use opentelemetry::trace::{Event, SpanKind, Status};
use opentelemetry_sdk::trace::SpanEvents;

use crate::proxy::access_log::RequestAccount;
use crate::proxy::route::Route;
use crate::proxy::traces::request_trace::{EndedSpan, RequestTrace};
use crate::proxy::traces::tracer::Tracer;
use crate::proxy::worker_door::WorkerDoor;
use sgl_api::End;

impl RequestTrace {
    /// The request is over: its spans are sent.
    pub(crate) fn finish(&self, account: &RequestAccount, tracer: &Tracer) {
        let (id, began) = self.root();
        let route = Route::of(account.uri.path()).map(Route::path);
        let method = account.method.as_str();
        let mut events = SpanEvents::default();
        if let Some(after) = account.first_byte {
            let name = if account.is_stream { "first token" } else { "first byte" };
            events.events.push(Event::new(name, self.time_at(began + after), Vec::new(), 0));
        }
        let span = EndedSpan {
            id,
            kind: SpanKind::Server,
            name: route.map_or_else(|| method.to_owned(), |route| format!("{method} {route}")).into(),
            began,
            attributes: attributes_of(account, route),
            status: status_of(account),
        };
        tracer.queue().push(self.end(span, events));
    }
}

/// A server's span is an error if it did not do its part: what clients do wrong is none (OpenTelemetry's
/// conventions for HTTP).
fn status_of(account: &RequestAccount) -> Status {
    match account.end {
        End::BrokeOff => Status::error("the answer broke off"),
        End::ErrorEvent => Status::error("the stream told of an error"),
        _ if account.status >= 500 => Status::error(account.error.unwrap_or_default()),
        _ => Status::Unset,
    }
}

fn attributes_of(account: &RequestAccount, route: Option<&'static str>) -> Vec<KeyValue> {
    let text = |value: &http::HeaderValue| value.to_str().ok().map(str::to_owned);
    let end = match account.end {
        End::Complete => "complete",
        End::ErrorEvent => "error_event",
        End::BrokeOff => "broke_off",
        End::NoAnswer => "no_answer",
        End::ClientGone => "client_gone",
    };
    let mut attributes = vec![
        KeyValue::new("http.request.method", account.method.as_str().to_owned()),
        KeyValue::new("url.path", WorkerDoor::told(account.uri.path()).into_owned()),
        KeyValue::new("http.response.status_code", i64::from(account.status)),
        KeyValue::new("http.response.body.size", i64::try_from(account.bytes).unwrap_or(i64::MAX)),
        KeyValue::new("sgl.end", end),
    ];
    attributes.extend(route.map(|route| KeyValue::new("http.route", route)));
    let headers = [
        ("client.address", Some(&account.client)),
        ("user_agent.original", account.user_agent.as_ref()),
        ("sgl.request_id", account.request_id.as_ref()),
        ("sgl.worker", account.worker.as_ref()),
    ];
    for (key, value) in headers {
        attributes.extend(value.and_then(text).map(|value| KeyValue::new(key, value)));
    }
    attributes
        .extend(account.model.as_ref().map(|model| KeyValue::new("gen_ai.request.model", model.to_string())));
    attributes.extend(account.key.as_ref().map(|key| KeyValue::new("sgl.client_key", key.to_string())));
    attributes.extend(account.error.map(|error| KeyValue::new("error.type", error)));
    let tokens = [
        ("gen_ai.usage.input_tokens", account.tokens.prompt_tokens),
        ("gen_ai.usage.output_tokens", account.tokens.completion_tokens),
        ("gen_ai.usage.cache_read.input_tokens", account.tokens.cached_tokens),
    ];
    for (key, tokens) in tokens {
        attributes.extend(tokens.map(|tokens| KeyValue::new(key, i64::from(tokens))));
    }
    attributes
}
