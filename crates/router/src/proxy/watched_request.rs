//! A request that is told of when it is over.

use std::sync::Arc;
use std::time::Instant;

use http::header::CONTENT_TYPE;
use http::{HeaderValue, Request, Response};
use hyper::body::Incoming;

use crate::proxy::access_log::RequestAccount;
use crate::proxy::clients::Client;
use crate::proxy::data_plane::DataPlane;
use crate::proxy::placed_at::PlacedAt;
use crate::proxy::proxy_error::{OwnError, ToldStatus};
use crate::proxy::request_id::REQUEST_ID;
use crate::proxy::route::Route;
use crate::proxy::traces::RequestTrace;

/// Follows a request to its end. If it is dropped before its answer, the client has hung up.
#[derive(Debug)]
pub(crate) struct WatchedRequest {
    /// Boxed, since an answer changes hands often on its way to hyper.
    account: Box<RequestAccount>,
    proxy: Arc<DataPlane>,
    trace: Option<Arc<RequestTrace>>,
    /// For the access log, if there is one.
    placed_at: Option<Arc<PlacedAt>>,
}

impl WatchedRequest {
    /// From the request's head on; `None` if nobody wants to hear of it. Its headers tell of its trace from
    /// then on.
    pub(crate) fn begin(client: &Client, request: &mut Request<Incoming>, started: Instant) -> Option<Self> {
        let proxy = client.proxy();
        let trace = proxy.tracer().and_then(|tracer| tracer.begin(request.headers_mut(), started));
        // Looked at last, since few are sampled.
        let trace = trace.filter(|_| !is_probe(request.uri().path()));
        if trace.is_none() && proxy.access_log().is_none() {
            return None;
        }
        if let Some(trace) = &trace {
            request.extensions_mut().insert(Arc::clone(trace));
        }
        let placed_at = proxy.access_log().map(|_| Arc::<PlacedAt>::default());
        if let Some(placed_at) = &placed_at {
            request.extensions_mut().insert(Arc::clone(placed_at));
        }
        let account = RequestAccount::begin(started, client.forwarded_for().clone(), request);
        Some(Self { account: Box::new(account), proxy: Arc::clone(proxy), trace, placed_at })
    }

    /// The head of the answer is there.
    pub(crate) fn answered<B>(&mut self, response: &Response<B>) {
        let account = &mut self.account;
        let (extensions, headers) = (response.extensions(), response.headers());
        account.status = response.status().as_u16();
        account.told_status = extensions.get::<ToldStatus>().map(|told| told.0);
        account.error = extensions.get::<OwnError>().map(|error| error.0);
        let content_type = headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes);
        account.is_stream = content_type.is_some_and(|form| form.starts_with(b"text/event-stream"));
        account.request_id = headers.get(REQUEST_ID).cloned().or_else(|| account.request_id.take());
    }

    /// What is known of the request, to add to.
    pub(crate) fn account(&mut self) -> &mut RequestAccount {
        &mut self.account
    }

    /// A piece of the answer's body came, of so many bytes.
    pub(crate) fn piece(&mut self, bytes: usize) {
        let account = &mut self.account;
        account.bytes += bytes as u64;
        if account.first_byte.is_none() {
            account.first_byte = Some(account.started.elapsed());
        }
    }
}

impl Drop for WatchedRequest {
    fn drop(&mut self) {
        self.account.duration = self.account.started.elapsed();
        if self.account.worker.is_none() {
            self.account.worker = self.placed_at.as_ref().and_then(|placed_at| placed_at.take());
        }
        if let Some((trace, tracer)) = self.trace.as_ref().zip(self.proxy.tracer()) {
            trace.finish(&self.account, tracer);
        }
        if let Some(log) = self.proxy.access_log() {
            log.write(&self.account);
        }
    }
}

/// True for what balancers ask all the time.
fn is_probe(path: &str) -> bool {
    matches!(Route::of(path), Some(Route::Liveness | Route::Readiness))
}
