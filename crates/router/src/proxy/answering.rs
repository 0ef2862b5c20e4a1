//! A request until it has an answer: decide, try, decide again.

use std::sync::Arc;

use http::{HeaderMap, Response};

use crate::proxy::asking::Asking;
use crate::proxy::body_values::WantedFields;
use crate::proxy::clients::Client;
use crate::proxy::data_plane::DataPlane;
use crate::proxy::form::{Attempted, Form};
use crate::proxy::headers::{Headers, tell_record};
use crate::proxy::inbound::Inbound;
use crate::proxy::out_body::OutBody;
use crate::proxy::pair::PairRequest;
use crate::proxy::proxy_error::ProxyError;
use crate::proxy::request_course::RequestCourse;
use crate::proxy::request_view::RequestView;
use crate::proxy::retry::RetryReason;
use crate::proxy::route::Route;
use crate::proxy::shape::Shape;
use crate::proxy::single::Single;
use crate::proxy::snapshot::Snapshot;
use crate::proxy::traces::{AttemptSpan, RequestTrace};
use crate::proxy::tried::Selection;
use crate::proxy::wanted::Wanted;
use crate::records::{Draft, DraftFor, HearsDecisions};
use sgl_api::End;
use sglang_router_rs::core::{Worker, WorkerTable};
use sglang_router_rs::policies::{DecideError, HeaderLookup, PolicyHandle, RequestNeeds, SelectWorkerInfo};

/// A client that sends this wants to know of the decision.
const EXPLAIN_HEADER: &str = "x-sgl-explain";

/// Under which id a client knows its request.
const REQUEST_ID_HEADER: &str = "x-request-id";

/// Gets an answer to a request from a worker of the policy's choice, or from a pair of them. Others
/// are tried as [`crate::proxy::retry`] says; nothing was sent to the client until then. The last
/// answer counts if nobody else is left.
///
/// # Errors
///
/// [`ProxyError`] if no worker answered; `told` is then what the client is told of its record, if there is
/// one.
///
/// # Cancel safety
///
/// Dropping the future ends the request.
pub(crate) async fn answer(
    client: &Arc<Client>,
    inbound: &Inbound,
    told: &mut Option<Box<HeaderMap>>,
) -> Result<Response<OutBody>, ProxyError> {
    let mut course = RequestCourse::new(client.proxy(), inbound);
    let mut record = begin_record(client.proxy(), inbound, course.policy.handle());
    // One future for all of it, though an error has to be recorded: each more would be copied into
    // the one around it.
    let answered = loop {
        let served = match read_request(client.proxy(), &course, inbound).await {
            Err(error) => {
                course.given_up(error).into_response(client, inbound, None, None, &mut record).map(Some)
            }
            Ok((view, shape)) => {
                let headers = Headers(&inbound.head.headers);
                let info = view.info(&headers, inbound);
                course.arrival_rate = info.arrival_rate;
                let second = course.second.carried_on();
                course.shape = Some(shape);
                course.seek(client.proxy(), inbound, view.facts.previous_response.as_deref());
                if shape == Shape::Pair {
                    let body = course.counted(inbound);
                    let pair = PairRequest::new(client, &inbound.head, body, view.facts.batch, second);
                    // Boxed: it is much larger than what most requests need.
                    Box::pin(serve(&pair, client, inbound, &mut course, &info, &mut record)).await
                } else {
                    let single = Single::new(client, inbound, second);
                    serve(&single, client, inbound, &mut course, &info, &mut record).await
                }
            }
        };
        if let Some(answered) = served.transpose() {
            break answered;
        }
    };
    if let Err(error) = &answered {
        let waited = course.waits.give_up(error);
        if let Some(mut record) = record {
            waited.into_iter().for_each(|waited| record.waited(waited));
            tell_record(&record, told.get_or_insert_default());
            record.end(End::NoAnswer, Some(error.to_string()));
        }
    }
    answered
}

/// Tries until there is an answer; it takes the record along. `None` if the request goes on in the other
/// form.
async fn serve<F: Form>(
    form: &F,
    client: &Arc<Client>,
    inbound: &Inbound,
    course: &mut RequestCourse,
    info: &SelectWorkerInfo<'_>,
    record: &mut Option<Box<Draft>>,
) -> Result<Option<Response<OutBody>>, ProxyError> {
    let (proxy, model) = (client.proxy(), info.model);
    while course.shape == Some(F::SHAPE) {
        let snapshot = &course.snapshot;
        let given = SelectWorkerInfo { excluded: course.tried.workers(), ..*info };
        let (table, eligible) = (snapshot.table(), snapshot.eligible_of(F::SHAPE, &given)?);
        let home = course.only_home();
        let eligible = home.as_ref().or(eligible);
        let wait = course.waits.hold.offer(proxy.queue(), inbound);
        let given = SelectWorkerInfo { eligible, wait: Some(wait), ..given };
        let asking = Asking::begin(&course.policy, record.as_deref(), table, &given);
        let given = SelectWorkerInfo { explanation: asking.explanation(), ..given };
        let decided = F::decide(course.policy.handle(), table, &given).await;
        asking.end::<F>(record.as_deref_mut(), table, &decided);
        let decision = match decided {
            Ok(decision) => decision,
            Err(DecideError::NoWorker) if course.finds_others(F::SHAPE, model) => continue,
            // Boxed: most requests need no room for it.
            Err(error) => match Box::pin(course.undecided(&error, F::SHAPE, client, inbound, info)).await {
                None => continue,
                Some(outcome) => {
                    return outcome.into_response(client, inbound, Some(info), None, record).map(Some);
                }
            },
        };
        let chosen = F::chosen(&decision);
        let Some(placed) = F::place(decision, &mut course.tried, snapshot, &course.policy)? else { continue };
        note_prefix(proxy, course.policy.handle(), table, info, chosen);
        if let (Some(waited), Some(record)) = (course.waits.placed(), record.as_mut()) {
            record.waited(waited);
        }
        let reason = course.tried.begin();
        reason.into_iter().for_each(|reason| proxy.measures().retried(reason));
        note_worker(inbound, &course.snapshot, chosen);
        let span = begin_span(inbound, &course.snapshot, chosen, reason);
        let attempted = F::judge(form.attempt(placed, course.others(model, chosen)).await);
        if let Some(span) = span {
            match attempted.as_ref().map(|attempted| attempted.outcome.told()) {
                Ok(Ok(status)) => span.answered(status),
                Ok(Err(error)) | Err(error) => span.failed(error.code(), error.to_string()),
            }
        }
        let attempted = attempted?;
        let tried = &mut course.tried;
        let is_retried = tried.take_retry(&attempted.outcome, attempted.other, form.second_run());
        let mut seeks_on = || course.sought.as_mut().is_some_and(|sought| sought.goes_on(&attempted.outcome));
        if !is_retried && !seeks_on() {
            let (outcome, prefill) = attempted.settled(tried);
            return outcome.into_response(client, inbound, Some(info), prefill, record).map(Some);
        }
        let Attempted { outcome, culprit, other, .. } = attempted;
        culprit.exclude(tried, snapshot, eligible, chosen, outcome.ending());
        if let Some(ending) = other.filter(|other| other.is_break()) {
            culprit.other().exclude(tried, snapshot, eligible, chosen, ending);
        }
        tried.keep(culprit.told(outcome));
        course.follow(proxy.backends().snapshot(), F::SHAPE, model);
    }
    course.second = form.second_run().carried_on();
    Ok(None)
}

/// Notes at whom the request is, if somebody tells of that.
fn note_worker(inbound: &Inbound, snapshot: &Snapshot, chosen: Selection) {
    if let Some((placed_at, target)) = inbound.head.placed_at().zip(snapshot.target(chosen.decode)) {
        placed_at.set(target.name().clone());
    }
}

/// The span of an attempt, if the request is traced. Boxed: most requests need no room for it.
fn begin_span(
    inbound: &Inbound,
    snapshot: &Snapshot,
    chosen: Selection,
    reason: Option<RetryReason>,
) -> Option<Box<AttemptSpan>> {
    let trace = inbound.head.trace()?;
    let url = |index: usize| snapshot.target(index).map(|target| target.worker().url());
    let name = reason.and_then(|reason| RetryReason::ALL.get(reason as usize)).map(|(_, name)| *name);
    let worker = url(chosen.decode).unwrap_or_default();
    Some(Box::new(trace.attempt(worker, chosen.prefill.and_then(url), name)))
}

/// Notes which workers hold the request's prompt from now on, if the policy wants to know.
pub(crate) fn note_prefix(
    proxy: &DataPlane,
    policy: &PolicyHandle,
    table: &WorkerTable,
    info: &SelectWorkerInfo<'_>,
    chosen: Selection,
) {
    let Some(hashes) = info.prefix_hashes.filter(|_| proxy.request_needs(policy).prefix_match) else {
        return;
    };
    let shared = proxy.sent_prefixes();
    for index in chosen.prefill.into_iter().chain([chosen.decode]) {
        table.sent(index, hashes, info.learnt_block_tokens);
        if let (Some(shared), Some(worker)) = (shared, table.get(index)) {
            shared.put(worker, hashes);
        }
    }
}

/// The record of a request, if it is to have one.
pub(crate) fn begin_record(
    proxy: &DataPlane,
    inbound: &Inbound,
    policy: &PolicyHandle,
) -> Option<Box<Draft>> {
    let (recorder, trace) = (proxy.recorder(), inbound.head.trace());
    if recorder.is_none() && trace.is_none() {
        return None;
    }
    let headers = Headers(&inbound.head.headers);
    let request = DraftFor {
        recorder,
        asked: inbound.head.own(EXPLAIN_HEADER).next().is_some(),
        hearer: trace.map(|trace| Arc::<RequestTrace>::clone(trace) as Arc<dyn HearsDecisions>),
        route: inbound.route.name(),
        policy: policy.name(),
    };
    Draft::begin(request, headers.header(REQUEST_ID_HEADER), inbound.started)
}

/// What is looked for in the body of a request of this route, for this policy.
pub(crate) fn wanted(proxy: &DataPlane, policy: &PolicyHandle, snapshot: &Snapshot, route: Route) -> Wanted {
    let settings = &proxy.settings().requests;
    let needs = proxy.request_needs(policy);
    let fields = WantedFields {
        names: if needs.names { policy.wanted_names() } else { None },
        session: needs.session.then(|| Arc::clone(&settings.session)),
    };
    let wanted =
        Wanted::new(needs, fields, settings.prefix, snapshot.routes_by_model(), snapshot.may_pair(route));
    let previous_response = route == Route::Responses && proxy.response_homes().is_some();
    Wanted { previous_response, ..wanted }
}

/// What the policy needs to know, and by how many workers the request is to be served. A body that is
/// not what the API says is the worker's to refuse, unless it has to be changed on the way.
async fn read_request<'a>(
    proxy: &'a DataPlane,
    course: &RequestCourse,
    inbound: &'a Inbound,
) -> Result<(RequestView<'a>, Shape), ProxyError> {
    let (route, snapshot) = (inbound.route, &course.snapshot);
    let policy = course.policy.handle();
    let needs = proxy.request_needs(policy);
    if needs.prefix_match {
        proxy.backends().start_prefix_index();
    }
    let wanted = wanted(proxy, policy, snapshot, route);
    let is_parsed = wanted.anything();
    if !is_parsed && needs == RequestNeeds::default() {
        return Ok((RequestView::default(), Shape::Single));
    }
    let view = RequestView::read(proxy, course, inbound, needs, wanted).await;
    if !is_parsed {
        return Ok((view, Shape::Single));
    }
    let shape = match course.shape {
        Some(shape) => shape,
        None => snapshot.shape(route, view.facts.model.as_deref())?,
    };
    match view.facts.broken {
        Some(broken) if shape == Shape::Pair => Err(ProxyError::InvalidBody { reason: broken.to_string() }),
        _ => Ok((view, shape)),
    }
}

/// What the policy needs to know of a request that one worker serves, whatever its body is.
#[cfg(feature = "envoy")]
pub(crate) async fn read_view<'a>(
    proxy: &'a DataPlane,
    course: &RequestCourse,
    inbound: &'a Inbound,
) -> RequestView<'a> {
    let policy = course.policy.handle();
    let needs = proxy.request_needs(policy);
    if needs.prefix_match {
        proxy.backends().start_prefix_index();
    }
    let wanted = wanted(proxy, policy, &course.snapshot, inbound.route);
    if !wanted.anything() && needs == RequestNeeds::default() {
        return RequestView::default();
    }
    RequestView::read(proxy, course, inbound, needs, wanted).await
}
