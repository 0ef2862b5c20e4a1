//! A request until it has an answer: decide, try, decide again.

use std::sync::Arc;

use http::Response;

use crate::policies::DecideError;
use crate::policies::HeaderLookup;
use crate::policies::SelectWorkerInfo;
use crate::policies::key_of;
use crate::proxy::clients::Client;
use crate::proxy::forward::Inbound;
use crate::proxy::forward::attempt;
use crate::proxy::headers::Headers;
use crate::proxy::pair;
use crate::proxy::parse;
use crate::proxy::parse::Facts;
use crate::proxy::parse::Wanted;
use crate::proxy::payload::Payload;
use crate::proxy::respond::ProxyError;
use crate::proxy::snapshot::Snapshot;
use crate::proxy::stream::OutBody;
use crate::proxy::tried::Tried;
use crate::records::Draft;
use crate::records::draft::Asked;
use crate::records::record::End;

/// A client that sends this wants to know of the decision.
const EXPLAIN_HEADER: &str = "x-sgl-explain";

/// Under which id a client knows its request.
const REQUEST_ID_HEADER: &str = "x-request-id";

/// Gets an answer to a request from a worker of the policy's choice. Another worker is tried if
/// one cannot be reached, breaks off or answers with 502 (once), or is full (429, 503); nothing was
/// sent to the client until then. The last answer counts if there is no other worker.
///
/// # Errors
///
/// [`ProxyError`] if no worker answered.
///
/// # Cancel safety
///
/// Dropping the future ends the request.
pub async fn answer(client: &Arc<Client>, inbound: &Inbound) -> Result<Response<OutBody>, ProxyError> {
    let Some(recorder) = client.proxy().recorder() else { return place(client, inbound, &mut None).await };
    let headers = Headers(&inbound.head.headers);
    let mut record = Draft::begin(
        recorder,
        inbound.head.own(EXPLAIN_HEADER).is_some(),
        headers.header(REQUEST_ID_HEADER),
        inbound.route.name(),
        client.proxy().policy().name(),
        inbound.started,
    );
    let answered = place(client, inbound, &mut record).await;
    if let (Err(error), Some(record)) = (&answered, record) {
        record.end(End::NoAnswer, Some(error.to_string()));
    }
    answered
}

/// The same for a request that may be recorded; an answer takes the record along.
async fn place(
    client: &Arc<Client>,
    inbound: &Inbound,
    record: &mut Option<Box<Draft>>,
) -> Result<Response<OutBody>, ProxyError> {
    let proxy = client.proxy();
    let snapshot = proxy.backends().snapshot();
    let pairs = snapshot.pairs(inbound.route);
    let wanted = Wanted::new(proxy.policy().needs(), snapshot.routes_by_model(), pairs);
    let facts = read_facts(inbound, wanted, pairs).await?;
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
    if pairs {
        // Boxed: it is much larger than what most requests need.
        return Box::pin(pair::answer(client, inbound, snapshot, &info, facts.batch, record)).await;
    }
    single(client, inbound, snapshot, &info, record).await
}

async fn single(
    client: &Arc<Client>,
    inbound: &Inbound,
    mut snapshot: Arc<Snapshot>,
    info: &SelectWorkerInfo<'_>,
    record: &mut Option<Box<Draft>>,
) -> Result<Response<OutBody>, ProxyError> {
    let (proxy, route, model) = (client.proxy(), inbound.route, info.model);
    let second = inbound.second_run();
    let mut tried = Tried::new(proxy.settings(), &second);
    let body = Payload::from(inbound.body.clone());
    loop {
        let (table, eligible) = (snapshot.table(), snapshot.eligible(route, model)?);
        let info = SelectWorkerInfo { excluded: tried.workers(), eligible, ..*info };
        let asked = record.is_some().then(|| Asked::now(table, &info));
        let explanation = asked.as_ref().map(|asked| asked.explanation());
        let info = SelectWorkerInfo { explanation, ..info };
        let decided = proxy.policy().decide_async(table, &info).await;
        if let Some((record, asked)) = record.as_mut().zip(asked) {
            record.decided(*asked, table, &decided);
        }
        let decision = match decided {
            Ok(decision) => decision,
            Err(DecideError::NoWorker) if tried.finds_all_full(&snapshot, eligible) => continue,
            Err(error) => {
                let outcome = tried.give_up(&error, &snapshot, route, eligible);
                return outcome.into_response(client, inbound, None, record);
            }
        };
        let index = decision.index();
        let Some(placement) = tried.place(&snapshot, decision, proxy.policy())? else { continue };
        tried.begin().into_iter().for_each(|reason| proxy.measures().retried(reason));
        let outcome = {
            let has_other = || tried.has_other(&snapshot, eligible, index);
            attempt(client, &inbound.head, &body, placement, &second, has_other).await
        };
        if !tried.take_retry(&outcome) {
            return tried.settle(outcome).into_response(client, inbound, None, record);
        }
        tried.exclude(index);
        tried.keep(outcome);
        snapshot = tried.follow(snapshot, proxy.backends().snapshot(), route, model);
    }
}

/// What the policy needs to know. A body that is not what the API says is the worker's to refuse,
/// unless it has to be changed on the way.
async fn read_facts(inbound: &Inbound, wanted: Wanted, pairs: bool) -> Result<Facts<'_>, ProxyError> {
    if !wanted.anything() {
        return Ok(Facts::default());
    }
    let facts = parse::read(inbound.route, &inbound.body, wanted).await;
    match facts.broken {
        Some(broken) if pairs => Err(ProxyError::InvalidBody { reason: broken.to_string() }),
        _ => Ok(facts),
    }
}
