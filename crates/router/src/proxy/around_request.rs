//! What is around a request where that is configured: an id, what browsers are told, a trace, a line in the
//! access log.

use std::time::Instant;

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response};
use hyper::body::Incoming;

use crate::proxy::clients::Client;
use crate::proxy::cors;
use crate::proxy::out_body::OutBody;
use crate::proxy::request_id::{self, REQUEST_ID};
use crate::proxy::watched_request::WatchedRequest;

/// What a request has around it.
#[derive(Debug)]
pub(crate) struct AroundRequest {
    id: Option<HeaderValue>,
    /// What a browser may read, where origins are configured.
    cors: Option<Option<HeaderValue>>,
    watched: Option<WatchedRequest>,
}

impl AroundRequest {
    /// Of a request, whose headers may be others from then on; `None` for most. Boxed, so that those need no
    /// room for it.
    pub(crate) fn of(
        client: &Client,
        request: &mut Request<Incoming>,
        started: Instant,
    ) -> Option<Box<Self>> {
        let proxy = client.proxy();
        let calls = &proxy.settings().calls;
        let id = calls.request_ids.as_ref().map(|names| request_id::assigned(names, request.headers_mut()));
        let watched = if proxy.watches() { WatchedRequest::begin(client, request, started) } else { None };
        let cors = calls.cors.as_ref().map(|origins| cors::allowed(origins, request.headers()));
        let is_plain = id.is_none() && watched.is_none() && cors.is_none();
        (!is_plain).then(|| Box::new(Self { id, cors, watched }))
    }

    /// The answer to a browser that asks before it sends a request to an endpoint of these methods.
    pub(crate) fn preflight(
        &mut self,
        request: &Request<Incoming>,
        methods: impl FnOnce() -> &'static [Method],
    ) -> Option<Response<Bytes>> {
        let allowed = self.cors.take_if(|_| cors::is_preflight(request))?;
        Some(cors::preflight(allowed, methods(), request.headers()))
    }

    /// Adds to the answer what belongs around it.
    pub(crate) fn finish(self, response: &mut Response<OutBody>) {
        if let Some(allowed) = self.cors {
            cors::tell(allowed, response.headers_mut());
        }
        response.headers_mut().extend(self.id.map(|id| (REQUEST_ID, id)));
        if let Some(mut watched) = self.watched {
            watched.answered(response);
            response.body_mut().watch(watched);
        }
    }
}
