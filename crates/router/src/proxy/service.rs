//! What happens to a request: which endpoint it is for, and what it is answered.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header, request};
use hyper::body::Incoming;
use percent_encoding::percent_decode_str;
use serde::Serialize;

use crate::proxy::around_request::AroundRequest;
use crate::proxy::body::Arriving;
use crate::proxy::client_keys::{KeyRing, KeyUse};
use crate::proxy::clients::Client;
use crate::proxy::data_plane::DataPlane;
use crate::proxy::head::Head;
use crate::proxy::held_by_answer::HeldByAnswer;
use crate::proxy::inbound::Inbound;
use crate::proxy::measures::Measures;
use crate::proxy::out_body::OutBody;
use crate::proxy::placed_at::PlacedAt;
use crate::proxy::proxy_error::{MAX_HEADER_BYTES, MAX_HEADERS, MAX_HOPS, OwnError, ProxyError, ToldStatus};
use crate::proxy::route::Route;
use crate::proxy::sessions::finish_session;
use crate::proxy::shortage::Shortage;
use crate::proxy::snapshot::Snapshot;
use crate::proxy::source_reports::SourceReport;
use crate::proxy::traces::RequestTrace;
use crate::proxy::worker_door::WorkerDoor;
use crate::proxy::{admission, answering, body, short_answer};
use sglang_router_rs::core::{FleetWorker, Worker};

/// Answers a request, whatever it is.
///
/// # Cancel safety
///
/// Dropping the future ends the request, at its worker too.
pub(crate) async fn handle(client: Arc<Client>, mut request: Request<Incoming>) -> Response<OutBody> {
    let started = Instant::now();
    client.begin(started);
    // Before the router adds its own.
    let too_many = check_headers(request.headers()).err();
    let mut surroundings = AroundRequest::of(&client, &mut request, started);
    let methods = || {
        let route = routed_to(client.proxy(), request.uri().path());
        route.map_or(Route::Listed.methods(), Route::methods)
    };
    let preflight = surroundings.as_mut().and_then(|around| around.preflight(&request, methods));
    let answer = match (too_many, preflight) {
        (Some(error), _) => Some(refused(&client, &error, Route::of(request.uri().path()))),
        (None, preflight) => preflight.map(|answer| own(&client, answer)),
    };
    let mut response = match answer {
        Some(answer) => answer,
        None => routed(&client, request, started).await,
    };
    if let Some(surroundings) = surroundings {
        surroundings.finish(&mut response);
    }
    response
}

/// Answers a request.
async fn routed(client: &Arc<Client>, mut request: Request<Incoming>, started: Instant) -> Response<OutBody> {
    if let Some(door) = client.proxy().worker_door()
        && WorkerDoor::is_for(request.uri().path())
    {
        let answer = door.answer(request, client.forwarded_for()).await;
        return own(client, answer);
    }
    let route = routed_to(client.proxy(), request.uri().path());
    // Probes show no key.
    if let Some(keys) = client.proxy().client_keys()
        && !matches!(route, Some(Route::Liveness | Route::Readiness))
        && let Err(error) = let_in(keys, &mut request)
    {
        return refused(client, &error, route);
    }
    let Some(route) = route else {
        return refused(client, &ProxyError::NotFound { path: request.uri().path().to_owned() }, None);
    };
    let allowed = route.methods();
    let head_for_get = request.method() == Method::HEAD && allowed.contains(&Method::GET);
    if !allowed.contains(request.method()) && !head_for_get {
        return refused(client, &ProxyError::MethodNotAllowed { allowed }, Some(route));
    }
    match route {
        Route::Liveness => own(client, short_answer::text(StatusCode::OK, "OK")),
        Route::Readiness => own(client, readiness(client.proxy())),
        Route::FinishSession => own(client, end_of_session(client.proxy(), request.uri().query())),
        _ => measured(client, route, request, started).await,
    }
}

async fn measured(
    client: &Arc<Client>,
    route: Route,
    request: Request<Incoming>,
    started: Instant,
) -> Response<OutBody> {
    let measures = client.proxy().measures();
    let mut waiting = WaitingClient { measures, route, is_over: false };
    let mut told = None;
    let answered = match route {
        Route::Models => models(client, route, started, model_page),
        Route::Model => {
            let id = percent_decode_str(Route::model_in(request.uri().path())).decode_utf8_lossy();
            models(client, route, started, |snapshot| model_card(snapshot, &id))
        }
        _ => forwarded(client, route, request, started, &mut told).await,
    };
    waiting.is_over = true;
    let response = match answered {
        Ok(response) => response,
        Err(error) => {
            measures.finished(route, started.elapsed());
            if let Some(shortage) = error.shortage() {
                measures.unplaced(shortage);
            }
            count_pressure(client.proxy(), &error);
            let mut response = refused(client, &error, Some(route));
            response.headers_mut().extend(told.map(|told| *told).unwrap_or_default());
            response
        }
    };
    let told = response.extensions().get::<ToldStatus>();
    measures.answered(route, told.map_or(response.status().as_u16(), |told| told.0));
    response
}

/// Counts a client that hangs up while its request has no answer: hyper drops the request then.
struct WaitingClient<'a> {
    measures: &'a Measures,
    route: Route,
    is_over: bool,
}

impl Drop for WaitingClient<'_> {
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
    told: &mut Option<Box<HeaderMap>>,
) -> Result<Response<OutBody>, ProxyError> {
    let (mut head, body) = request.into_parts();
    let key = client.proxy().client_keys().and_then(|_| head.extensions.remove::<Arc<KeyUse>>());
    let trace = client.proxy().tracer().and_then(|_| head.extensions.remove::<Arc<RequestTrace>>());
    let placed_at = client.proxy().access_log().and_then(|_| head.extensions.remove::<Arc<PlacedAt>>());
    let arriving = Arriving { body, is_held_back: expects_continue(&head)? };
    if arriving.is_held_back {
        somebody_is_fit(client.proxy(), route)?;
    }
    let limit = client.proxy().settings().max_payload_bytes;
    let mut held = client.proxy().pressure().body();
    let reading = body::read(arriving, limit, &mut held, || client.heard());
    let body = client.receive(reading).await.map_err(|_| ProxyError::SlowBody)?;
    if matches!(body, Err(ProxyError::OutOfMemory { .. })) {
        client.clients().give_up_stalled();
    }
    let body = body?;
    let forwarding = client.proxy().settings().calls.forwarding.clone();
    let head =
        Head::new(head, client.forwarded_for()).forwarded_by(forwarding).traced(trace).noted(placed_at);
    if head.hops() > MAX_HOPS {
        return Err(ProxyError::Loop { hops: head.hops() });
    }
    key.iter().for_each(|key| key.foresee(body.len()));
    let mut inbound =
        Inbound { route, head, body, held, key, started, waits_until: None, waited: Duration::ZERO };
    let admission = match client.proxy().queue().limit() {
        // Boxed: requests need no room for it where there is no limit.
        Some(limit) => Some(Box::pin(admission::admit(client, limit, &mut inbound)).await?),
        None => None,
    };
    let mut answered = answering::answer(client, &inbound, told).await;
    if (admission.is_some() || inbound.key.is_some())
        && let Ok(response) = &mut answered
    {
        response.body_mut().hold(HeldByAnswer::new(admission, inbound.key.take()));
    }
    answered
}

/// Counts an answer that says that the router itself was short of something.
fn count_pressure(proxy: &DataPlane, error: &ProxyError) {
    match error {
        ProxyError::OutOfMemory { .. } => proxy.pressure().refused_body(),
        ProxyError::OutOfResources => proxy.pressure().ran_short(),
        _ => {}
    }
}

/// True if the client sends its body only when it is asked for it. That is all that a client may
/// expect (RFC 9110, section 10.1.1).
fn expects_continue(head: &request::Parts) -> Result<bool, ProxyError> {
    match head.headers.get(header::EXPECT).map(HeaderValue::as_bytes) {
        None | Some(b"") => Ok(false),
        Some(expected) if expected.eq_ignore_ascii_case(b"100-continue") => Ok(true),
        Some(_) => Err(ProxyError::UnknownExpectation),
    }
}

/// An error if no worker could be chosen whatever the body says, or if the request could not even wait,
/// so that nobody sends one in vain. Full workers are tried all the same.
fn somebody_is_fit(proxy: &DataPlane, route: Route) -> Result<(), ProxyError> {
    let queue = proxy.queue();
    if queue.limit().is_some_and(|limit| limit.is_full()) {
        queue.check(0)?;
    }
    let snapshot = proxy.backends().snapshot();
    if snapshot.is_ready_for(route) {
        return Ok(());
    }
    let shortage = Shortage::of_fleet(&snapshot, route);
    let waits = queue.settings().wait_for_workers && shortage.may_pass() && queue.check(0).is_ok();
    if waits { Ok(()) } else { Err(ProxyError::NoWorker(shortage)) }
}

/// Lets a request in with its key, which is among its extensions from then on.
fn let_in(keys: &KeyRing, request: &mut Request<Incoming>) -> Result<(), ProxyError> {
    let key = keys.admit(request.headers())?;
    request.extensions_mut().insert(key);
    Ok(())
}

/// An error if the headers are more than workers need, or larger.
fn check_headers(headers: &HeaderMap) -> Result<(), ProxyError> {
    let bytes = headers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
    if headers.len() <= MAX_HEADERS && bytes <= MAX_HEADER_BYTES {
        return Ok(());
    }
    Err(ProxyError::TooManyHeaders { count: headers.len(), bytes })
}

/// What a path is for: one that the router knows, or that the operator has listed.
fn routed_to(proxy: &DataPlane, path: &str) -> Option<Route> {
    let listed = || proxy.settings().calls.forward_paths.admit(path).then_some(Route::Listed);
    Route::of(path).or_else(listed)
}

/// What is known of models, at once: whether workers answer now matters to nobody who asks.
fn models(
    client: &Arc<Client>,
    route: Route,
    started: Instant,
    page: impl Fn(&Snapshot) -> Result<Bytes, ProxyError>,
) -> Result<Response<OutBody>, ProxyError> {
    let snapshot = client.proxy().backends().snapshot();
    if !snapshot.is_ready() {
        return Err(ProxyError::NoWorker(Shortage::of_fleet(&snapshot, Route::Chat)));
    }
    let page = page(&snapshot)?;
    client.proxy().measures().finished(route, started.elapsed());
    Ok(own(client, short_answer::json(StatusCode::OK, page)))
}

/// What `/v1/models` says.
fn model_page(snapshot: &Snapshot) -> Result<Bytes, ProxyError> {
    snapshot.model_page().ok_or(ProxyError::NoWorker(Shortage::ModelsUnknown))
}

/// What `/v1/models/{id}` says, whose id this is.
fn model_card(snapshot: &Snapshot, id: &str) -> Result<Bytes, ProxyError> {
    let cards = snapshot.model_cards().ok_or(ProxyError::NoWorker(Shortage::ModelsUnknown))?;
    let card = cards.iter().find(|card| card.get("id").is_some_and(|known| known == id));
    let card = card.ok_or(ProxyError::UnknownModel)?;
    Ok(card.to_string().into())
}

/// What `/finish_session` says.
fn end_of_session(proxy: &DataPlane, query: Option<&str>) -> Response<Bytes> {
    match finish_session(proxy.placing(), query) {
        Ok(ended) => short_answer::json(StatusCode::OK, serde_json::to_vec(&ended).unwrap_or_default()),
        Err(why) => {
            let error = ProxyError::NoSession(why);
            proxy.measures().refused(error.code());
            error.response(None)
        }
    }
}

/// What `/readiness` says.
#[derive(Serialize)]
struct Readiness {
    ready: bool,
    /// Why not, for programs.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
    /// Why not, for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<String>,
    workers: usize,
    healthy: usize,
    draining: usize,
    full: usize,
    /// Where workers come from beside the configuration and operators.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    sources: Vec<SourceReport>,
}

/// Whether the router is ready, with how its workers are.
fn readiness(proxy: &DataPlane) -> Response<Bytes> {
    let snapshot = proxy.backends().snapshot();
    let count = |counts: &dyn Fn(&FleetWorker) -> bool| {
        snapshot.table().workers().iter().filter(|worker| counts(worker)).count()
    };
    let reason = proxy.unreadiness(&snapshot);
    let status = if reason.is_none() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let (reason, message) = reason.unzip();
    let body = Readiness {
        ready: reason.is_none(),
        reason,
        message,
        workers: snapshot.targets().len(),
        healthy: count(&|worker| worker.is_healthy()),
        draining: count(&|worker| worker.is_draining()),
        full: snapshot.targets().iter().filter(|target| target.fullness().is_full()).count(),
        sources: proxy.sources(),
    };
    short_answer::json(status, serde_json::to_vec(&body).unwrap_or_default())
}

/// An error of the router's own.
fn refused(client: &Client, error: &ProxyError, route: Option<Route>) -> Response<OutBody> {
    client.proxy().measures().refused(error.code());
    let mut response = own(client, error.response(route));
    if client.proxy().watches() {
        response.extensions_mut().insert(OwnError(error.code()));
    }
    response
}

/// An answer that no worker gave.
fn own(client: &Client, response: Response<Bytes>) -> Response<OutBody> {
    client.end(Instant::now());
    response.map(OutBody::own)
}
