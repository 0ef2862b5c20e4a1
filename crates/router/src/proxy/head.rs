//! The head of a request on its way to a worker.

use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Uri, Version, header, request};

use crate::config::forwarding::Forwarding;
#[cfg(feature = "envoy")]
use crate::proxy::headers::own_of;
use crate::proxy::headers::{SaidByClient, join_cookies, prepare_request};
use crate::proxy::placed_at::PlacedAt;
use crate::proxy::target::Target;
use crate::proxy::traces::{RequestTrace, TRACEPARENT};
use sgl_upstream::{Outgoing, Payload};

/// The head of a request as every worker gets it, but for `host`.
#[derive(Clone, Debug)]
pub(crate) struct Head {
    /// The method.
    pub method: Method,
    /// Path and query.
    pub uri: Uri,
    /// Headers, without those of the client's connection.
    pub headers: HeaderMap,
    /// Those that speak to this router.
    own: Vec<(HeaderName, HeaderValue)>,
    /// Proxies that it came through.
    hops: usize,
    /// Which of the headers workers get, if not all.
    forwarding: Option<Arc<Forwarding>>,
    /// The trace that workers are told of, if it is sampled.
    trace: Option<Arc<RequestTrace>>,
    /// Where it is noted at whom the request is, if somebody tells of that.
    placed_at: Option<Arc<PlacedAt>>,
}

impl Head {
    /// From the head as it came from a client of this address.
    pub(crate) fn new(head: request::Parts, forwarded_for: &HeaderValue) -> Self {
        let request::Parts { method, uri, mut headers, version, .. } = head;
        if version == Version::HTTP_2 {
            join_cookies(&mut headers);
        }
        let SaidByClient { own, hops } = prepare_request(&mut headers, forwarded_for);
        Self {
            method,
            uri: origin_form(uri),
            headers,
            own,
            hops,
            forwarding: None,
            trace: None,
            placed_at: None,
        }
    }

    /// A head that another proxy carries to the worker: nothing of it is changed here.
    #[cfg(feature = "envoy")]
    pub(crate) fn carried(head: request::Parts) -> Self {
        let request::Parts { method, uri, headers, .. } = head;
        let own = own_of(&headers);
        // Rings are the other proxy's to find.
        Self { method, uri, headers, own, hops: 0, forwarding: None, trace: None, placed_at: None }
    }

    /// The same, of which workers get only what this lets through.
    pub(crate) fn forwarded_by(self, forwarding: Option<Arc<Forwarding>>) -> Self {
        Self { forwarding, ..self }
    }

    /// The same, of which workers are told that it belongs to this trace.
    pub(crate) fn traced(self, trace: Option<Arc<RequestTrace>>) -> Self {
        Self { trace, ..self }
    }

    /// The same, of which it is noted here at whom the request is.
    pub(crate) fn noted(self, placed_at: Option<Arc<PlacedAt>>) -> Self {
        Self { placed_at, ..self }
    }

    /// Where it is to be noted at whom the request is.
    pub(crate) fn placed_at(&self) -> Option<&PlacedAt> {
        self.placed_at.as_deref()
    }

    /// How many proxies the request came through, as it says itself.
    pub(crate) fn hops(&self) -> usize {
        self.hops
    }

    /// The trace, if it is sampled.
    pub(crate) fn trace(&self) -> Option<&Arc<RequestTrace>> {
        self.trace.as_ref()
    }

    /// The values of a header that speaks to this router, by its lower-case name.
    pub(crate) fn own(&self, name: &str) -> impl Iterator<Item = &HeaderValue> {
        self.own.iter().filter(move |(known, _)| known == name).map(|(_, value)| value)
    }

    /// The request to one worker.
    pub(crate) fn outgoing(&self, target: &Target, body: &Payload) -> Outgoing {
        let rank = target.rank();
        let mut request = Request::new(rank.map_or_else(|| body.clone(), |rank| rank.body(body)));
        *request.method_mut() = self.method.clone();
        *request.uri_mut() = self.uri.clone();
        let forwarded = self.forwarding.as_ref().map(|forwarding| forwarding.of(&self.headers));
        *request.headers_mut() = forwarded.unwrap_or_else(|| self.headers.clone());
        request.headers_mut().insert(header::HOST, target.host().clone());
        target.endpoint().show_key(request.headers_mut());
        if let Some(trace) = &self.trace {
            request.headers_mut().insert(TRACEPARENT, trace.header());
        }
        if let Some(rank) = rank {
            rank.write(request.headers_mut());
        }
        request
    }
}

/// Proxies may be sent the whole URL; workers get path and query.
fn origin_form(uri: Uri) -> Uri {
    if uri.authority().is_none() {
        return uri;
    }
    uri.into_parts().path_and_query.map(Uri::from).unwrap_or_default()
}
