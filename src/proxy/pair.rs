//! Requests that a prefill and a decode worker serve together.
//!
//! Both get the request at once, with the fields of `crate::proxy::bootstrap`; the decode
//! worker's answer goes to the client, the prefill worker's is read and dropped. Log
//! probabilities of the prompt, which only the prefill worker knows, are not merged in.

use std::sync::Arc;
use std::task::Poll;

use http::Response;
use http::header;

use crate::policies::DecideError;
use crate::policies::PairDecision;
use crate::policies::Policy;
use crate::policies::SelectWorkerInfo;
use crate::proxy::bootstrap;
use crate::proxy::clients::Client;
use crate::proxy::forward::Answered;
use crate::proxy::forward::Head;
use crate::proxy::forward::Inbound;
use crate::proxy::forward::Outcome;
use crate::proxy::forward::attempt;
use crate::proxy::measures::RetryReason;
use crate::proxy::payload::Payload;
use crate::proxy::placement::Placement;
use crate::proxy::prefill;
use crate::proxy::prefill::PrefillFailure;
use crate::proxy::prefill::PrefillGuard;
use crate::proxy::respond::ProxyError;
use crate::proxy::second_run::SecondRun;
use crate::proxy::snapshot::Snapshot;
use crate::proxy::stream::OutBody;
use crate::proxy::tried::Tried;
use crate::records::Draft;
use crate::records::draft::Asked;

/// Gets an answer from a pair of the policy's choice; another pair is tried as another worker
/// would be, without the half that failed.
///
/// # Errors
///
/// [`ProxyError`] if no pair answered.
///
/// # Cancel safety
///
/// Dropping the future ends the request at both workers.
pub async fn answer(
    client: &Arc<Client>,
    inbound: &Inbound,
    snapshot: &Snapshot,
    info: &SelectWorkerInfo<'_>,
    batch: Option<usize>,
    record: &mut Option<Box<Draft>>,
) -> Result<Response<OutBody>, ProxyError> {
    let (proxy, table, eligible) = (client.proxy(), snapshot.table(), info.eligible);
    let mut head = inbound.head.clone();
    // The body grows.
    head.headers.remove(header::CONTENT_LENGTH);
    // The prefill half may need it for longer than the answer takes to begin.
    let body = inbound.held.move_into(inbound.body.clone());
    let second = Arc::new(inbound.second_run());
    let mut tried = Tried::new(proxy.settings(), &second);
    loop {
        let info = SelectWorkerInfo { excluded: tried.workers(), ..*info };
        let asked = record.is_some().then(|| Asked::now(table, &info));
        let explanation = asked.as_ref().map(|asked| asked.explanation());
        let info = SelectWorkerInfo { explanation, ..info };
        let decided = proxy.policy().decide_pair_async(table, &info).await;
        if let Some((record, asked)) = record.as_mut().zip(asked) {
            record.decided_pair(*asked, table, &decided);
        }
        let pair = match decided {
            Ok(pair) => pair,
            Err(DecideError::NoWorker) if tried.finds_all_full(snapshot, eligible) => continue,
            Err(error) => {
                let outcome = tried.give_up(&error, snapshot, inbound.route, eligible);
                return outcome.into_response(client, inbound, None, record);
            }
        };
        let indexes = (pair.prefill.index(), pair.decode.index());
        let Some((prefill, decode)) = place(&mut tried, snapshot, pair, proxy.policy())? else { continue };
        let payload = bootstrap::inject(&body, prefill.target(), batch).await?;
        let (guard, outcome, culprit) =
            attempt_pair(client, &head, &payload, (prefill, decode), &second).await;
        match tried.take_retry(&outcome) {
            Some(reason) => {
                proxy.measures().retried(reason);
                tried.exclude(if culprit == Half::Prefill { indexes.0 } else { indexes.1 });
                tried.keep(outcome);
            }
            None => {
                // Unless both halves serve the request, nothing is left running.
                let guard = (culprit == Half::Decode && outcome.is_served()).then_some(guard);
                return outcome.into_response(client, inbound, guard, record);
            }
        }
    }
}

/// One half of a pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Half {
    Prefill,
    Decode,
}

fn place(
    tried: &mut Tried,
    snapshot: &Snapshot,
    pair: PairDecision,
    policy: &Policy,
) -> Result<Option<(Placement, Placement)>, ProxyError> {
    let prefill = tried.place(snapshot, pair.prefill, policy)?;
    let decode = tried.place(snapshot, pair.decode, policy)?;
    Ok(prefill.zip(decode))
}

async fn attempt_pair(
    client: &Client,
    head: &Head,
    body: &Payload,
    (prefill, decode): (Placement, Placement),
    second: &Arc<SecondRun>,
) -> (PrefillGuard, Outcome, Half) {
    let target = Arc::clone(prefill.target());
    let (watched, deaths) = (Arc::clone(&target), target.deaths());
    let (own_head, own_body) = (head.clone(), body.clone());
    let limit = client.proxy().settings().request_timeout;
    let (guard, failure) =
        prefill::start(prefill, move || own_head.outgoing(&target, &own_body), Arc::clone(second), limit);
    let failed = async {
        match failure.await {
            Ok(failure) => failure,
            // All went well, so only the decode worker's answer is waited for.
            Err(_) => std::future::pending().await,
        }
    };
    // Whoever finds workers dead wakes this task.
    let died =
        std::future::poll_fn(|_| if watched.deaths() == deaths { Poll::Pending } else { Poll::Ready(()) });
    // The decode worker first: once it has answered, the prefill worker has done its part.
    let (outcome, half) = tokio::select! {
        biased;
        outcome = attempt(client, head, body, decode, second, || false) => (outcome, Half::Decode),
        failure = failed => (prefill_failed(failure), Half::Prefill),
        () = died => {
            let error = ProxyError::BrokenAnswer;
            (Outcome::Failed { error, retry: Some(RetryReason::Silent) }, Half::Prefill)
        }
    };
    (guard, outcome, half)
}

/// A refusal is an answer like any other: the request ends with it, or another pair is tried.
fn prefill_failed(failure: PrefillFailure) -> Outcome {
    match failure {
        PrefillFailure::NoAnswer(error) => Outcome::no_answer(&error),
        PrefillFailure::Refused(refused) => {
            let (opening, placement) = *refused;
            Outcome::Answered(Answered::new(opening, placement)).unless_failed(ProxyError::PrefillFailed)
        }
        PrefillFailure::BrokeOff => {
            Outcome::Failed { error: ProxyError::BrokenAnswer, retry: Some(RetryReason::Broken) }
        }
    }
}
