//! How far a request has come: in which fleet, in which form, and what was tried.

use std::sync::Arc;

use bytes::Bytes;

use crate::manage::placing::RequestPolicy;
use crate::proxy::asked_workers::AskedWorkers;
use crate::proxy::clients::Client;
use crate::proxy::course_waits::CourseWaits;
use crate::proxy::data_plane::DataPlane;
use crate::proxy::headers::Headers;
use crate::proxy::inbound::Inbound;
use crate::proxy::others::Others;
use crate::proxy::outcome::Outcome;
use crate::proxy::proxy_error::ProxyError;
use crate::proxy::retry::SecondRun;
use crate::proxy::route::Route;
use crate::proxy::shape::Shape;
use crate::proxy::shortage::Shortage;
use crate::proxy::snapshot::Snapshot;
use crate::proxy::tried::{Selection, Tried};
use crate::proxy::worker_wait::WorkerWait;
use sglang_router_rs::policies::{DecideError, SelectWorkerInfo, Wait};
use sglang_router_rs::types::WorkerSet;

/// A request between its attempts. It keeps its form while somebody is left for that, and changes over
/// to the other when only that can be served.
#[derive(Debug)]
pub(crate) struct RequestCourse {
    /// Who places it, to its end.
    pub(crate) policy: RequestPolicy,
    /// The fleet that it is placed in.
    pub(crate) snapshot: Arc<Snapshot>,
    /// What was tried, at the places of that fleet.
    pub(crate) tried: Tried,
    /// The form of the next attempt; `None` before the request was read.
    pub(crate) shape: Option<Shape>,
    /// What the form before had left.
    pub(crate) second: SecondRun,
    /// How many requests came when this one did, if that was wanted.
    pub(crate) arrival_rate: Option<f32>,
    /// The body as [`counted`](Self::counted) made it.
    body: Option<Bytes>,
    route: Route,
    /// What it waits for.
    pub(crate) waits: CourseWaits,
    /// The response that it names.
    pub(crate) sought: Option<AskedWorkers>,
}

impl RequestCourse {
    /// Nothing was tried yet.
    pub(crate) fn new(proxy: &DataPlane, inbound: &Inbound) -> Self {
        Self {
            policy: proxy.placing().choose(&Headers(&inbound.head.headers)),
            snapshot: proxy.backends().snapshot(),
            tried: Tried::new(proxy.settings()),
            shape: None,
            second: inbound.second_run(),
            arrival_rate: None,
            body: None,
            route: inbound.route,
            waits: CourseWaits::new(inbound.waited),
            sought: None,
        }
    }

    /// The body for those who may need it for longer than the answer takes to begin. Counted here too, in
    /// case the request changes over to a form that does not.
    pub(crate) fn counted(&mut self, inbound: &Inbound) -> Bytes {
        self.body.get_or_insert_with(|| inbound.held.move_into(inbound.body.clone())).clone()
    }

    /// Finds out who is asked for the response that the request names, if it names one. Once: who was asked
    /// stays asked.
    pub(crate) fn seek(&mut self, proxy: &DataPlane, inbound: &Inbound, previous: Option<&str>) {
        if inbound.route.suits_any_role() {
            self.sought = AskedWorkers::of_any_role(&self.snapshot);
        } else if let Some(homes) = proxy.response_homes().filter(|_| self.sought.is_none()) {
            self.sought = AskedWorkers::of(homes, inbound, previous);
        }
    }

    /// The only workers that may be asked for that response, if it matters which.
    pub(crate) fn only_home(&self) -> Option<WorkerSet> {
        self.sought.as_ref()?.only(&self.snapshot)
    }

    /// Goes on in the fleet as it is `now`, after an attempt in this shape: a worker that came meanwhile
    /// may be chosen.
    pub(crate) fn follow(&mut self, now: Arc<Snapshot>, own: Shape, model: Option<&str>) {
        if !Arc::ptr_eq(&self.snapshot, &now) && !self.is_read_otherwise(&now, model) {
            self.tried.translate(&self.snapshot, &now);
            self.snapshot = now;
        }
        self.shape = Some(if self.is_left(own.other(), own, model) { own.other() } else { own });
    }

    /// True if this fleet is none for the request as it was read: nobody serves its model any more, or
    /// models matter that did not.
    fn is_read_otherwise(&self, now: &Snapshot, model: Option<&str>) -> bool {
        now.only_shape(self.route, model).is_err()
            || (now.routes_by_model() && !self.snapshot.routes_by_model())
    }

    /// True if the policy found nobody in this shape although somebody may serve the request, perhaps in
    /// the other shape.
    pub(crate) fn finds_others(&mut self, own: Shape, model: Option<&str>) -> bool {
        if self.is_left(own.other(), own, model) {
            self.shape = Some(own.other());
            return true;
        }
        // Those of any role, if a pair would do.
        let shape = if self.snapshot.may_pair(self.route) { Shape::Pair } else { own };
        let eligible = self.snapshot.eligible(shape, model).ok().flatten();
        let home = self.only_home();
        self.tried.finds_all_full(&self.snapshot, home.as_ref().or(eligible))
    }

    /// Who else could serve the request than those that were chosen.
    pub(crate) fn others<'a>(&'a self, model: Option<&'a str>, chosen: Selection) -> Others<'a> {
        let Self { snapshot, tried, route, .. } = self;
        let has_home = matches!(self.sought, Some(AskedWorkers::At(_)));
        Others { snapshot, tried, route: *route, model, chosen, has_home }
    }

    /// True if the request can be served in this shape only, no longer in the other.
    fn is_left(&self, shape: Shape, other: Shape, model: Option<&str>) -> bool {
        !self.can(other, model) && self.can(shape, model)
    }

    fn can(&self, shape: Shape, model: Option<&str>) -> bool {
        self.snapshot.has_left(shape, self.route, model, self.tried.workers())
    }

    /// What the client is told if the policy found nobody else to try.
    fn give_up(&mut self, error: &DecideError, shape: Shape, info: &SelectWorkerInfo<'_>) -> Outcome {
        let home = self.only_home();
        self.tried.take_last().unwrap_or_else(|| {
            let eligible = self.snapshot.eligible_of(shape, info).ok().flatten();
            Outcome::end(self.refusal(error, shape, home.as_ref().or(eligible)))
        })
    }

    /// Why there is no decision, of which only `eligible` workers could have been.
    pub(crate) fn refusal(
        &self,
        error: &DecideError,
        shape: Shape,
        eligible: Option<&WorkerSet>,
    ) -> ProxyError {
        match error {
            DecideError::Rejected { cause } => ProxyError::PolicyFailed { cause: *cause },
            DecideError::Shed { retry_after, .. } => ProxyError::Shed { retry_after: *retry_after },
            // Nobody may be chosen, or the policy chose nobody.
            _ => ProxyError::NoWorker(Shortage::of(&self.snapshot, shape, eligible)),
        }
    }

    /// There is no decision. `None` if the policy is to be asked again, perhaps in the other form: after
    /// the request has waited as the policy said, or for workers. Else what the client is told.
    ///
    /// # Cancel safety
    ///
    /// The request leaves the queue when this course is dropped.
    pub(crate) async fn undecided(
        &mut self,
        error: &DecideError,
        shape: Shape,
        client: &Client,
        inbound: &Inbound,
        info: &SelectWorkerInfo<'_>,
    ) -> Option<Outcome> {
        match error {
            DecideError::Wait(wait) => self.wait(client, inbound, info.model, wait, shape).await.err(),
            error => {
                let outcome = self.give_up(error, shape, info);
                self.or_wait(outcome, client, inbound, info.model).await
            }
        }
    }

    /// Waits for workers, if that is what the request wants for and if it may; it then begins anew, with
    /// the workers that are there. Else what the client is told.
    ///
    /// # Cancel safety
    ///
    /// The request leaves the queue when this course is dropped.
    async fn or_wait(
        &mut self,
        outcome: Outcome,
        client: &Client,
        inbound: &Inbound,
        model: Option<&str>,
    ) -> Option<Outcome> {
        if let Outcome::Failed { error, .. } = &outcome {
            let held = self.waits.hold.give_up(error);
            self.waits.before += held.unwrap_or_default();
        }
        let proxy = client.proxy();
        let may_wait = proxy.queue().settings().wait_for_workers;
        let Some(shortage) = outcome.shortage().filter(|shortage| may_wait && shortage.may_pass()) else {
            return Some(outcome);
        };
        match &mut self.waits.workers {
            Some(waiting) => {
                if let Err(error) = waiting.changed(client, shortage).await {
                    return Some(Outcome::end(error));
                }
            }
            // Asked once more at once: workers may have changed since it was asked.
            none => match WorkerWait::begin(client, inbound, model) {
                Ok(waiting) => *none = Some(waiting),
                Err(_) => return Some(outcome),
            },
        }
        self.snapshot = proxy.backends().snapshot();
        self.tried = Tried::new(proxy.settings());
        self.shape = None;
        None
    }

    /// The policy has the request wait: waits until it is to be asked again, with the workers that are
    /// there then. Else what the client is told.
    ///
    /// # Cancel safety
    ///
    /// The request leaves the queue when this course is dropped.
    async fn wait(
        &mut self,
        client: &Client,
        inbound: &Inbound,
        model: Option<&str>,
        wait: &Wait,
        shape: Shape,
    ) -> Result<(), Outcome> {
        if let Err(error) = self.waits.hold.wait(client, inbound, model, wait).await {
            return Err(self.given_up(error));
        }
        let now = client.proxy().backends().snapshot();
        if self.tried.workers().is_none() && self.is_read_otherwise(&now, model) {
            (self.snapshot, self.shape) = (now, None);
        } else {
            self.follow(now, shape, model);
        }
        Ok(())
    }

    /// What the client is told if the request cannot be served in the form that is left.
    pub(crate) fn given_up(&mut self, error: ProxyError) -> Outcome {
        self.tried.take_last().unwrap_or_else(|| Outcome::end(error))
    }
}
