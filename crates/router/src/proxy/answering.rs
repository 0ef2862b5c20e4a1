//! A request until it has an answer: decide, try, decide again.

use std::sync::Arc;

use http::Response;

use crate::proxy::clients::Client;
use crate::proxy::form::{Attempted, Form};
use crate::proxy::headers::Headers;
use crate::proxy::inbound::Inbound;
use crate::proxy::out_body::OutBody;
use crate::proxy::pair::PairRequest;
use crate::proxy::parse;
use crate::proxy::parse::{Facts, Wanted};
use crate::proxy::proxy_error::ProxyError;
use crate::proxy::retry::Ending;
use crate::proxy::shape::Shape;
use crate::proxy::single::Single;
use crate::proxy::snapshot::Snapshot;
use crate::proxy::tried::Tried;
use crate::records::Draft;
use crate::records::draft::Asked;
use sgl_api::End;
use sglang_router_rs::policies::{DecideError, HeaderLookup, PolicyHandle, SelectWorkerInfo, key_of};

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
/// [`ProxyError`] if no worker answered.
///
/// # Cancel safety
///
/// Dropping the future ends the request.
pub(crate) async fn answer(client: &Arc<Client>, inbound: &Inbound) -> Result<Response<OutBody>, ProxyError> {
    let proxy = client.proxy();
    let snapshot = proxy.backends().snapshot();
    let mut record = begin_record(client, inbound);
    // One future for all of it, though an error has to be recorded: each more would be copied into
    // the one around it.
    let answered = match read_facts(proxy.policy(), &snapshot, inbound).await {
        Err(error) => Err(error),
        Ok((facts, shape)) => {
            let headers = Headers(&inbound.head.headers);
            let info = SelectWorkerInfo {
                request_text: facts.text.as_deref(),
                prompt_bytes: Some(facts.text_bytes),
                tokens: facts.tokens.as_deref(),
                headers: Some(&headers),
                model: facts.model.as_deref(),
                request_key: key_of(&headers),
                ..SelectWorkerInfo::default()
            };
            if shape == Shape::Pair {
                let pair = PairRequest::new(client, inbound, facts.batch);
                // Boxed: it is much larger than what most requests need.
                Box::pin(serve(&pair, client, inbound, snapshot, &info, &mut record)).await
            } else {
                let single = Single::new(client, inbound);
                serve(&single, client, inbound, snapshot, &info, &mut record).await
            }
        }
    };
    if let (Err(error), Some(record)) = (&answered, record) {
        record.end(End::NoAnswer, Some(error.to_string()));
    }
    answered
}

/// Tries until there is an answer; it takes the record along.
async fn serve<F: Form>(
    form: &F,
    client: &Arc<Client>,
    inbound: &Inbound,
    mut snapshot: Arc<Snapshot>,
    info: &SelectWorkerInfo<'_>,
    record: &mut Option<Box<Draft>>,
) -> Result<Response<OutBody>, ProxyError> {
    let (proxy, route, model) = (client.proxy(), inbound.route, info.model);
    let mut tried = Tried::new(proxy.settings(), form.second_run());
    loop {
        let (table, eligible) = (snapshot.table(), snapshot.eligible(F::SHAPE, model)?);
        let info = SelectWorkerInfo { excluded: tried.workers(), eligible, ..*info };
        let asked = record.is_some().then(|| Asked::now(table, &info));
        let explanation = asked.as_ref().map(|asked| asked.explanation());
        let info = SelectWorkerInfo { explanation, ..info };
        let decided = F::decide(proxy.policy(), table, &info).await;
        if let Some((record, asked)) = record.as_mut().zip(asked) {
            F::record(record, *asked, table, &decided);
        }
        let decision = match decided {
            Ok(decision) => decision,
            Err(DecideError::NoWorker) if tried.finds_all_full(&snapshot, eligible) => continue,
            Err(error) => {
                let outcome = tried.give_up(&error, &snapshot, F::SHAPE, eligible);
                return outcome.into_response(client, inbound, None, record);
            }
        };
        let chosen = F::chosen(&decision);
        let Some(placed) = F::place(decision, &mut tried, &snapshot, proxy.policy())? else { continue };
        tried.begin().into_iter().for_each(|reason| proxy.measures().retried(reason));
        let has_other = || tried.has_other(&snapshot, eligible, chosen.decode);
        let attempted = F::judge(form.attempt(placed, has_other).await)?;
        if !tried.take_retry(&attempted.outcome, attempted.other) {
            let (outcome, prefill) = attempted.settled(&mut tried);
            return outcome.into_response(client, inbound, prefill, record);
        }
        let Attempted { outcome, culprit, other, .. } = attempted;
        culprit.exclude(&mut tried, &snapshot, eligible, chosen);
        if other.is_some_and(Ending::is_break) {
            culprit.other().exclude(&mut tried, &snapshot, eligible, chosen);
        }
        tried.keep(culprit.told(outcome));
        snapshot = tried.follow(snapshot, proxy.backends().snapshot(), route, F::SHAPE, model);
    }
}

fn begin_record(client: &Client, inbound: &Inbound) -> Option<Box<Draft>> {
    let proxy = client.proxy();
    let recorder = proxy.recorder()?;
    let headers = Headers(&inbound.head.headers);
    Draft::begin(
        recorder,
        inbound.head.own(EXPLAIN_HEADER).next().is_some(),
        headers.header(REQUEST_ID_HEADER),
        inbound.route.name(),
        proxy.policy().name(),
        inbound.started,
    )
}

/// What the policy needs to know, and by how many workers the request is to be served. A body that is
/// not what the API says is the worker's to refuse, unless it has to be changed on the way.
async fn read_facts<'a>(
    policy: &PolicyHandle,
    snapshot: &Snapshot,
    inbound: &'a Inbound,
) -> Result<(Facts<'a>, Shape), ProxyError> {
    let route = inbound.route;
    let wanted = Wanted::new(policy.needs(), snapshot.routes_by_model(), snapshot.may_pair(route));
    if !wanted.anything() {
        return Ok((Facts::default(), Shape::Single));
    }
    let facts = parse::read(route, &inbound.body, wanted).await;
    let shape = snapshot.shape(route, facts.model.as_deref())?;
    match facts.broken {
        Some(broken) if shape == Shape::Pair => Err(ProxyError::InvalidBody { reason: broken.to_string() }),
        _ => Ok((facts, shape)),
    }
}
