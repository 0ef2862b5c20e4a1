//! Requests that a prefill and a decode worker serve together.
//!
//! Both get the request at once, with the fields of `crate::proxy::bootstrap`; the decode
//! worker's answer goes to the client, the prefill worker's is read and dropped. Log
//! probabilities of the prompt, which only the prefill worker knows, are not merged in.
//!
//! A run of a pair is one run of the request. If one half breaks it off, the second run is one at
//! another pair; if both do, both runs were had, and the request ends.

use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use http::Response;
use http::header;

use crate::policies::DecideError;
use crate::policies::PairDecision;
use crate::policies::Policy;
use crate::policies::SelectWorkerInfo;
use crate::proxy::bootstrap;
use crate::proxy::clients::Client;
use crate::proxy::culprit::Culprit;
use crate::proxy::culprit::Meanwhile;
use crate::proxy::deadlines::GaveUp;
use crate::proxy::forward::Answered;
use crate::proxy::forward::Inbound;
use crate::proxy::forward::Outcome;
use crate::proxy::forward::Unanswered;
use crate::proxy::forward::ask;
use crate::proxy::head::Head;
use crate::proxy::measures::RetryReason;
use crate::proxy::patience::Limit;
use crate::proxy::patience::Patience;
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

/// How long after one half broke the other may take to break too, so that it counts as one request
/// that breaks both. A half that lives on waits for the other in vain, which costs so much.
const BREAKS_TOO: Duration = Duration::from_millis(100);

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
    mut snapshot: Arc<Snapshot>,
    info: &SelectWorkerInfo<'_>,
    batch: Option<usize>,
    record: &mut Option<Box<Draft>>,
) -> Result<Response<OutBody>, ProxyError> {
    let (proxy, route, model) = (client.proxy(), inbound.route, info.model);
    let mut head = inbound.head.clone();
    // The body grows.
    head.headers.remove(header::CONTENT_LENGTH);
    // The prefill half may need it for longer than the answer takes to begin.
    let body = inbound.held.move_into(inbound.body.clone());
    let second = Arc::new(inbound.second_run());
    let mut tried = Tried::new(proxy.settings(), &second);
    loop {
        let (table, eligible) = (snapshot.table(), snapshot.eligible(route, model)?);
        let info = SelectWorkerInfo { excluded: tried.workers(), eligible, ..*info };
        let asked = record.is_some().then(|| Asked::now(table, &info));
        let explanation = asked.as_ref().map(|asked| asked.explanation());
        let info = SelectWorkerInfo { explanation, ..info };
        let decided = proxy.policy().decide_pair_async(table, &info).await;
        if let Some((record, asked)) = record.as_mut().zip(asked) {
            record.decided_pair(*asked, table, &decided);
        }
        let pair = match decided {
            Ok(pair) => pair,
            Err(DecideError::NoWorker) if tried.finds_all_full(&snapshot, eligible) => continue,
            Err(error) => {
                let outcome = tried.give_up(&error, &snapshot, route, eligible);
                return outcome.into_response(client, inbound, None, record);
            }
        };
        let indexes = (pair.prefill.index(), pair.decode.index());
        let Some((prefill, decode)) = place(&mut tried, &snapshot, pair, proxy.policy())? else { continue };
        tried.begin().into_iter().for_each(|reason| proxy.measures().retried(reason));
        let payload = bootstrap::inject(&body, prefill.target(), batch).await?;
        let (guard, outcome, culprit) =
            attempt_pair(client, &head, &payload, (prefill, decode), &second).await;
        let is_over = !tried.take_retry(&outcome);
        let outcome = culprit.told(outcome);
        if is_over {
            let outcome = tried.settle(outcome);
            // Unless both halves serve the request, nothing is left running.
            let guard = (culprit == Culprit::Decode && outcome.is_served()).then_some(guard);
            return outcome.into_response(client, inbound, guard, record);
        }
        culprit.exclude(&mut tried, &snapshot, eligible, indexes);
        tried.keep(outcome);
        snapshot = tried.follow(snapshot, proxy.backends().snapshot(), route, model);
    }
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

/// Who spoke first.
enum First {
    Decode(Result<Outcome, Box<Unanswered>>),
    Prefill(PrefillFailure),
    /// The prefill worker was found dead.
    Died,
}

async fn attempt_pair(
    client: &Client,
    head: &Head,
    body: &Payload,
    (prefill, decode): (Placement, Placement),
    second: &Arc<SecondRun>,
) -> (PrefillGuard, Outcome, Culprit) {
    let target = Arc::clone(prefill.target());
    let own = Patience::of(head, decode.target().silence());
    let patience = own.within(Patience::of(head, target.silence()).first_byte);
    // What the client asks for holds at either worker.
    let is_hurried = patience.between.is_clients;
    let (watched, deaths) = (Arc::clone(&target), target.deaths());
    let meanwhile = Meanwhile::begin(&target, decode.target());
    let (own_head, own_body) = (head.clone(), body.clone());
    let limit = client.proxy().settings().request_timeout;
    let mut guard =
        prefill::start(prefill, move || own_head.outgoing(&target, &own_body), Arc::clone(second), limit);
    let mut decoding = pin!(ask(client, head, body, decode, patience, second, || false));
    // Whoever finds workers dead wakes this task.
    let died =
        std::future::poll_fn(|_| if watched.deaths() == deaths { Poll::Pending } else { Poll::Ready(()) });
    // The decode worker first: once it has answered, the prefill worker has done its part.
    let first = tokio::select! {
        biased;
        answered = &mut decoding => First::Decode(answered),
        failure = failed(client, &mut guard, own.first_byte, patience.first_byte) => First::Prefill(failure),
        () = died => First::Died,
    };
    let (outcome, culprit) = match first {
        First::Decode(Ok(outcome)) => (outcome, Culprit::Decode),
        First::Decode(Err(unanswered)) => silent(*unanswered, &mut guard, &meanwhile),
        First::Prefill(failure) => (prefill_failed(failure, is_hurried), Culprit::Prefill),
        First::Died => {
            guard.blame();
            (Outcome::given_up(GaveUp::Dead), Culprit::Prefill)
        }
    };
    if outcome.broke() {
        let other = async {
            if culprit == Culprit::Prefill {
                decoding.await.ok()
            } else {
                guard.ended().await.map(|failure| prefill_failed(failure, is_hurried))
            }
        };
        let other = tokio::time::timeout(BREAKS_TOO, other).await.ok().flatten();
        if other.is_some_and(|other| other.broke()) {
            second.take();
        }
    }
    (guard, outcome, culprit)
}

/// Waits for a failure of the prefill half. Once all went well there, only the decode worker's answer
/// is waited for, anew and as long as that worker may take; a client's own limit goes on.
async fn failed(client: &Client, guard: &mut PrefillGuard, decodes: Limit, running: Limit) -> PrefillFailure {
    if let Some(failure) = guard.ended().await {
        return failure;
    }
    if decodes != running {
        client.wait_for(decodes.after);
    } else if !decodes.is_clients {
        client.heard();
    }
    std::future::pending().await
}

/// The decode half is not waited for any longer. Until the prefill half has ended, its silence may be
/// the other's doing.
fn silent(unanswered: Unanswered, guard: &mut PrefillGuard, meanwhile: &Meanwhile) -> (Outcome, Culprit) {
    let is_open = unanswered.why == GaveUp::Silent && !guard.is_over();
    let culprit = if is_open { meanwhile.culprit() } else { Culprit::Decode };
    if culprit != Culprit::Decode && !unanswered.limit.is_clients {
        guard.blame();
    }
    let outcome =
        if culprit == Culprit::Prefill { Outcome::given_up(unanswered.why) } else { unanswered.blamed() };
    (outcome, culprit)
}

/// A refusal is an answer like any other: the request ends with it, or another pair is tried.
fn prefill_failed(failure: PrefillFailure, is_hurried: bool) -> Outcome {
    match failure {
        PrefillFailure::NoAnswer(error) => Outcome::no_answer(&error),
        PrefillFailure::Refused(refused) => {
            let (opening, placement) = *refused;
            Outcome::Answered(Answered::new(opening, placement, is_hurried))
        }
        PrefillFailure::BrokeOff => {
            Outcome::Failed { error: ProxyError::BrokenAnswer, retry: Some(RetryReason::Broken) }
        }
    }
}
