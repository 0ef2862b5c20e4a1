//! Requests that one worker serves.

use crate::manage::placing::RequestPolicy;
use crate::proxy::attempt::{Unanswered, attempt};
use crate::proxy::clients::Client;
use crate::proxy::culprit::Culprit;
use crate::proxy::form::{Attempted, Form};
use crate::proxy::head::Head;
use crate::proxy::inbound::Inbound;
use crate::proxy::others::Others;
use crate::proxy::outcome::Outcome;
use crate::proxy::patience::Patience;
use crate::proxy::placement::Placement;
use crate::proxy::proxy_error::ProxyError;
use crate::proxy::retry::SecondRun;
use crate::proxy::shape::Shape;
use crate::proxy::snapshot::Snapshot;
use crate::proxy::tried::{Selection, Tried};
use crate::records::Draft;
use crate::records::asked::Asked;
use sgl_upstream::Payload;
use sglang_router_rs::core::WorkerTable;
use sglang_router_rs::policies::{Chooser, DecideError, Decision, PolicyHandle, SelectWorkerInfo};

/// A request for one worker.
#[derive(Debug)]
pub(crate) struct Single<'a> {
    client: &'a Client,
    head: &'a Head,
    body: Payload,
    second: SecondRun,
}

impl<'a> Single<'a> {
    pub(crate) fn new(client: &'a Client, inbound: &'a Inbound, second: SecondRun) -> Self {
        let body = Payload::from(inbound.body.clone());
        Self { client, head: &inbound.head, body, second }
    }
}

impl Form for Single<'_> {
    type Decision = Decision;
    type Placed = Placement;
    type Ended = Result<Outcome, Box<Unanswered>>;
    const SHAPE: Shape = Shape::Single;

    fn second_run(&self) -> &SecondRun {
        &self.second
    }

    fn decide(
        policy: &PolicyHandle,
        table: &WorkerTable,
        info: &SelectWorkerInfo<'_>,
    ) -> impl Future<Output = Result<Decision, DecideError>> {
        policy.decide_async(table, info)
    }

    fn record(
        record: &mut Draft,
        asked: Asked,
        table: &WorkerTable,
        decided: &Result<Decision, DecideError>,
    ) {
        record.decided(asked, table, decided);
    }

    fn chooser(decision: &Decision) -> Chooser {
        decision.chooser()
    }

    fn chosen(decision: &Decision) -> Selection {
        Selection { decode: decision.index(), prefill: None }
    }

    fn place(
        decision: Decision,
        tried: &mut Tried,
        snapshot: &Snapshot,
        policy: &RequestPolicy,
    ) -> Result<Option<Placement>, ProxyError> {
        tried.place(snapshot, decision, policy)
    }

    fn attempt(&self, placement: Placement, others: Others<'_>) -> impl Future<Output = Self::Ended> {
        let patience = Patience::of(self.head, placement.target().silence());
        let has_other = move || others.than_decode();
        attempt(self.client, self.head, &self.body, placement, patience, &self.second, has_other)
    }

    fn judge(ended: Self::Ended) -> Result<Attempted, ProxyError> {
        let outcome = ended.unwrap_or_else(|unanswered| unanswered.blamed());
        Ok(Attempted { outcome, culprit: Culprit::Decode, other: None, prefill: None })
    }
}
