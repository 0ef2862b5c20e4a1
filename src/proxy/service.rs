//! What happens to a request: which endpoint it is for, and what it is answered.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use http::Method;
use http::Request;
use http::Response;
use http::StatusCode;
use http_body_util::Full;
use hyper::body::Incoming;

use crate::core::Worker;
use crate::core::WorkerRole;
use crate::proxy::attempts;
use crate::proxy::body;
use crate::proxy::clients::Client;
use crate::proxy::forward::Head;
use crate::proxy::forward::Inbound;
use crate::proxy::forward::ToldStatus;
use crate::proxy::measures::Measures;
use crate::proxy::respond;
use crate::proxy::respond::ProxyError;
use crate::proxy::route::Route;
use crate::proxy::state::Proxy;
use crate::proxy::stream::OutBody;

/// Answers a request, whatever it is.
///
/// # Cancel safety
///
/// Dropping the future ends the request, at its worker too.
pub async fn handle(client: Arc<Client>, request: Request<Incoming>) -> Response<OutBody> {
    let started = Instant::now();
    client.begin(started);
    let Some(route) = Route::of(request.uri().path()) else {
        return own(&client, ProxyError::NotFound { path: request.uri().path().to_owned() }.response());
    };
    let allowed = route.method();
    let head_for_get = allowed == Method::GET && request.method() == Method::HEAD;
    if *request.method() != allowed && !head_for_get {
        return own(&client, ProxyError::MethodNotAllowed { allowed }.response());
    }
    match route {
        Route::Liveness => own(&client, respond::text(StatusCode::OK, "OK")),
        Route::Readiness => own(&client, readiness(client.proxy())),
        _ => measured(&client, route, request, started).await,
    }
}

async fn measured(
    client: &Arc<Client>,
    route: Route,
    request: Request<Incoming>,
    started: Instant,
) -> Response<OutBody> {
    let measures = client.proxy().measures();
    let mut waiting = Waiting { measures, route, is_over: false };
    let answered = match route {
        Route::Models => models(client, started).await,
        _ => forwarded(client, route, request, started).await,
    };
    waiting.is_over = true;
    let response = match answered {
        Ok(response) => response,
        Err(error) => {
            measures.finished(route, started.elapsed());
            own(client, error.response())
        }
    };
    let told = response.extensions().get::<ToldStatus>();
    measures.answered(route, told.map_or(response.status().as_u16(), |told| told.0));
    response
}

/// Counts a client that hangs up while its request has no answer: hyper drops the request then.
struct Waiting<'a> {
    measures: &'a Measures,
    route: Route,
    is_over: bool,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if !self.is_over {
            self.measures.disconnected(self.route);
        }
    }
}

async fn forwarded(
    client: &Arc<Client>,
    route: Route,
    request: Request<Incoming>,
    started: Instant,
) -> Result<Response<OutBody>, ProxyError> {
    let (head, body) = request.into_parts();
    let limit = client.proxy().settings().max_payload_bytes;
    let body = client.in_time(body::read(body, limit)).await.map_err(|_| ProxyError::SlowBody)??;
    let inbound = Inbound { route, head: Head::new(head, client), body, started };
    attempts::answer(client, &inbound).await
}

async fn models(client: &Arc<Client>, started: Instant) -> Result<Response<OutBody>, ProxyError> {
    let proxy = client.proxy();
    let limit = proxy.settings().health.timeout;
    let page = proxy.models().page(&proxy.backends().snapshot(), limit).await.ok_or(ProxyError::NoWorker)?;
    client.proxy().measures().finished(Route::Models, started.elapsed());
    Ok(own(client, respond::json(StatusCode::OK, page)))
}

/// Ready: not stopping, and a worker may be chosen; with pairs, one of each half.
fn readiness(proxy: &Proxy) -> Response<Bytes> {
    let snapshot = proxy.backends().snapshot();
    let healthy = |role| {
        let workers = snapshot.table().workers().iter();
        workers.filter(|worker| worker.role() == role).any(|worker| worker.is_healthy())
    };
    let pair = || healthy(WorkerRole::Prefill) && healthy(WorkerRole::Decode);
    if proxy.is_stopping() {
        return respond::text(StatusCode::SERVICE_UNAVAILABLE, "stopping");
    }
    if healthy(WorkerRole::Regular) || pair() {
        return respond::text(StatusCode::OK, "ready");
    }
    respond::text(StatusCode::SERVICE_UNAVAILABLE, "no worker is available")
}

/// An answer that no worker gave.
fn own(client: &Client, response: Response<Bytes>) -> Response<OutBody> {
    client.end(Instant::now());
    response.map(|body| OutBody::Own(Full::new(body)))
}
