//! Requests that a prefill and a decode worker serve together.
//!
//! Both get the request at once, with the fields of `crate::proxy::bootstrap`; the decode
//! worker's answer goes to the client, the prefill worker's is read and dropped. Log
//! probabilities of the prompt, which only the prefill worker knows, are not merged in.
//! Those of vLLM get it one after the other: that is `crate::proxy::staged_pair`.
//!
//! A run of a pair is one run of the request. If one half breaks it off, the second run is one at
//! another pair; if both do, both runs were had, and the request ends. If one half is full or cannot be
//! reached, that is no run, unless the other half has ended by then. If an idle connection to one half
//! ends, that half broke, and only if nobody else is left it runs again at the same worker.

use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use http::header;

use crate::manage::placing::RequestPolicy;
use crate::proxy::attempt::{Unanswered, attempt};
use crate::proxy::client_deadlines::GaveUp;
use crate::proxy::clients::Client;
use crate::proxy::culprit::{Culprit, Meanwhile};
use crate::proxy::engines::vllm::VLLM;
use crate::proxy::form::{Attempted, Form};
use crate::proxy::head::Head;
use crate::proxy::kv_transfer::HalfBodies;
use crate::proxy::others::Others;
use crate::proxy::outcome::{Answered, Outcome};
use crate::proxy::patience::{Limit, Patience};
use crate::proxy::placement::Placement;
use crate::proxy::prefill_guard::{PrefillFailure, PrefillGuard, PrefillLimits, Runs};
use crate::proxy::proxy_error::ProxyError;
use crate::proxy::retry::{Ending, SecondRun};
use crate::proxy::shape::Shape;
use crate::proxy::snapshot::Snapshot;
use crate::proxy::staged_pair::StagedPair;
use crate::proxy::tried::{Selection, Tried};
use crate::proxy::{bootstrap, prefill_guard};
use crate::records::Draft;
use crate::records::asked::Asked;
use sgl_upstream::Payload;
use sglang_router_rs::core::WorkerTable;
use sglang_router_rs::policies::{Chooser, DecideError, PairDecision, PolicyHandle, SelectWorkerInfo};

/// A request for a pair.
#[derive(Debug)]
pub(crate) struct PairRequest<'a> {
    client: &'a Client,
    head: Head,
    body: Bytes,
    /// How many prompts or choices it has, if they are several.
    batch: Option<usize>,
    second: Arc<SecondRun>,
}

impl<'a> PairRequest<'a> {
    /// `body` is counted for as long as there is a copy of it: the prefill half may need it for longer
    /// than the answer takes to begin.
    pub(crate) fn new(
        client: &'a Client,
        head: &Head,
        body: Bytes,
        batch: Option<usize>,
        second: SecondRun,
    ) -> Self {
        let mut head = head.clone();
        // The body grows.
        head.headers.remove(header::CONTENT_LENGTH);
        Self { client, head, body, batch, second: Arc::new(second) }
    }
}

impl Form for PairRequest<'_> {
    type Decision = PairDecision;
    /// The prefill half and the decode half.
    type Placed = (Placement, Placement);
    type Ended = Result<Attempted, ProxyError>;
    const SHAPE: Shape = Shape::Pair;

    fn second_run(&self) -> &SecondRun {
        &self.second
    }

    fn decide(
        policy: &PolicyHandle,
        table: &WorkerTable,
        info: &SelectWorkerInfo<'_>,
    ) -> impl Future<Output = Result<PairDecision, DecideError>> {
        policy.decide_pair_async(table, info)
    }

    fn record(
        record: &mut Draft,
        asked: Asked,
        table: &WorkerTable,
        decided: &Result<PairDecision, DecideError>,
    ) {
        record.decided_pair(asked, table, decided);
    }

    fn chooser(pair: &PairDecision) -> Chooser {
        pair.decode.chooser()
    }

    fn chosen(pair: &PairDecision) -> Selection {
        Selection { decode: pair.decode.index(), prefill: Some(pair.prefill.index()) }
    }

    fn place(
        pair: PairDecision,
        tried: &mut Tried,
        snapshot: &Snapshot,
        policy: &RequestPolicy,
    ) -> Result<Option<Self::Placed>, ProxyError> {
        let prefill = tried.place(snapshot, pair.prefill, policy)?;
        let decode = tried.place(snapshot, pair.decode, policy)?;
        Ok(prefill.zip(decode))
    }

    /// Another pair is tried as another worker would be, without the half that failed.
    async fn attempt(&self, placed: Self::Placed, others: Others<'_>) -> Self::Ended {
        if are_of_vllm(&placed) {
            return self.attempt_staged(placed, others).await;
        }
        let body = bootstrap::inject(&self.body, placed.0.target(), self.batch).await?;
        Ok(attempt_pair(self.client, &self.head, &body, placed, &self.second, others).await)
    }

    fn judge(ended: Self::Ended) -> Self::Ended {
        ended
    }
}

impl PairRequest<'_> {
    /// At the one, and then at the other.
    async fn attempt_staged(
        &self,
        (prefill, decode): (Placement, Placement),
        others: Others<'_>,
    ) -> Result<Attempted, ProxyError> {
        let bodies = HalfBodies::of(&self.body).await?;
        let is_one = !bodies.has_choices && self.batch.is_none_or(|count| count == 1);
        let pair = StagedPair { client: self.client, head: &self.head, bodies, second: &self.second, others };
        if is_one {
            return Ok(pair.attempt(prefill, decode).await);
        }
        drop(prefill);
        Ok(pair.attempt_alone(decode).await)
    }
}

/// True for workers of vLLM. One that has not said yet what it is, is taken for what the other is.
fn are_of_vllm((prefill, decode): &(Placement, Placement)) -> bool {
    let is_vllm = |half: &Placement| half.target().engine().map(|engine| engine == VLLM.name);
    matches!((is_vllm(prefill), is_vllm(decode)), (Some(true), Some(true) | None) | (None, Some(true)))
}

/// Who spoke first.
enum First {
    Decode(Result<Outcome, Box<Unanswered>>),
    Prefill(PrefillFailure),
    /// The prefill worker was found dead.
    Died,
}

impl First {
    /// What that comes to, and by whom.
    fn told(self, guard: &mut PrefillGuard, meanwhile: &Meanwhile, is_hurried: bool) -> (Outcome, Culprit) {
        match self {
            Self::Decode(Ok(outcome)) => (outcome, Culprit::Decode),
            Self::Decode(Err(unanswered)) => silent(*unanswered, guard, meanwhile),
            Self::Prefill(failure) => (prefill_failed(failure, is_hurried), Culprit::Prefill),
            Self::Died => {
                guard.blame();
                (Outcome::given_up(GaveUp::Dead), Culprit::Prefill)
            }
        }
    }
}

async fn attempt_pair(
    client: &Client,
    head: &Head,
    body: &Payload,
    (prefill, decode): (Placement, Placement),
    second: &Arc<SecondRun>,
    others: Others<'_>,
) -> Attempted {
    let target = Arc::clone(prefill.target());
    let own = Patience::of(head, decode.target().silence());
    let prefills = Patience::of(head, target.silence());
    let patience = own.within(prefills.first_byte);
    // What the client asks for holds at either worker.
    let is_hurried = patience.between.is_clients;
    let (watched, deaths) = (Arc::clone(&target), target.deaths());
    let meanwhile = Meanwhile::begin(&target, decode.target());
    let (own_head, own_body) = (head.clone(), body.clone());
    let body = bootstrap::at_decode(body, &target);
    let outgoing = move || own_head.outgoing(&target, &own_body);
    let runs = Runs { second: Arc::clone(second), has_other: others.than_prefill() };
    let mut guard = prefill_guard::start(prefill, outgoing, runs, limits(client, prefills));
    let has_other = || others.than_decode();
    let mut decoding = pin!(attempt(client, head, &body, decode, patience, second, has_other));
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
    let (outcome, culprit) = first.told(&mut guard, &meanwhile, is_hurried);
    let other = async {
        if culprit == Culprit::Prefill {
            decoding.await.ok().map(|outcome| outcome.ending())
        } else {
            let failure = guard.ended().await;
            Some(failure.map_or(Ending::SERVED, |failure| prefill_failed(failure, is_hurried).ending()))
        }
    };
    let grace = outcome.ending().grace(client.proxy().settings().retry_on);
    let other = within(grace, other).await;
    Attempted { outcome, culprit, other, prefill: Some(guard) }
}

/// How the other half ends, if it does within this time.
async fn within(grace: Option<Duration>, other: impl Future<Output = Option<Ending>>) -> Option<Ending> {
    tokio::time::timeout(grace?, other).await.ok()?
}

fn limits(client: &Client, silence: Patience) -> PrefillLimits {
    let settings = client.proxy().settings();
    PrefillLimits { request: settings.request_timeout, silence, after_death: settings.health.timeout }
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
            Outcome::Failed { error: ProxyError::BrokenAnswer, ending: Ending::BROKEN }
        }
    }
}
