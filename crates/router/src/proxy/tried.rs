//! What was tried for a request so far.

use std::sync::Arc;

use crate::config::checked::ProxySettings;
use crate::manage::placing::RequestPolicy;
use crate::proxy::outcome::{Outcome, Teller};
use crate::proxy::placement::Placement;
use crate::proxy::proxy_error::ProxyError;
use crate::proxy::retry::{Ending, Retries, RetryReason, SecondRun};
use crate::proxy::shortage::Shortage;
use crate::proxy::snapshot::Snapshot;
use crate::proxy::target::Target;
use sglang_router_rs::core::{Worker, WorkerRole};
use sglang_router_rs::policies::Decision;
use sglang_router_rs::types::WorkerSet;

/// The workers that must not be chosen again, and the outcome that counts if none is left.
#[derive(Debug)]
pub(crate) struct Tried {
    workers: Option<WorkerSet>,
    retries: Retries,
    last: Option<Outcome>,
}

/// Whom a policy chose, by their places in the table.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Selection {
    /// The worker whose answer the client gets: the decode half of a pair, or the only one.
    pub(crate) decode: usize,
    /// The other half of a pair.
    pub(crate) prefill: Option<usize>,
}

impl Tried {
    pub(crate) fn new(settings: &ProxySettings) -> Self {
        let retries = Retries::new(settings.max_retries, settings.retry_on);
        Self { workers: None, retries, last: None }
    }

    /// The workers that were tried.
    pub(crate) fn workers(&self) -> Option<&WorkerSet> {
        self.workers.as_ref()
    }

    /// The decision as a placement; `None` if the circuit does not let it through, which
    /// happens when it changed since the decision. The worker is then not chosen again.
    ///
    /// # Errors
    ///
    /// [`ProxyError::NoWorker`] if the policy insists on a worker that was tried, which would go
    /// on for ever.
    pub(crate) fn place(
        &mut self,
        snapshot: &Snapshot,
        decision: Decision,
        policy: &RequestPolicy,
    ) -> Result<Option<Placement>, ProxyError> {
        let index = decision.index();
        if self.workers.as_ref().is_some_and(|tried| tried.contains(index)) {
            return Err(ProxyError::NoWorker(Shortage::PolicyInsists));
        }
        let target: &Arc<_> = snapshot.target(index).ok_or(ProxyError::NoWorker(Shortage::PolicyInsists))?;
        let placement = Placement::new(target, decision, policy);
        if placement.is_none() {
            self.exclude(index);
        }
        Ok(placement)
    }

    /// The worker is not to be chosen again.
    pub(crate) fn exclude(&mut self, index: usize) {
        self.workers.get_or_insert_default().insert(index);
    }

    /// Uses up a retry, if the outcome is a reason for one and one is left. `other` is how the other
    /// half of a pair ended, if it has; `second` is what the request may do once.
    pub(crate) fn take_retry(
        &mut self,
        outcome: &Outcome,
        other: Option<Ending>,
        second: &SecondRun,
    ) -> bool {
        self.retries.take(outcome.ending(), other, second)
    }

    /// An attempt begins: why, if it is one more.
    pub(crate) fn begin(&mut self) -> Option<RetryReason> {
        self.retries.begin()
    }

    /// The workers that were tried stand elsewhere in the fleet as it is `now` than in the one `seen`.
    pub(crate) fn translate(&mut self, seen: &Snapshot, now: &Snapshot) {
        let Some(tried) = &mut self.workers else { return };
        let known = seen.targets().iter().enumerate().filter(|(index, _)| tried.contains(*index));
        let known: Vec<&Arc<Target>> = known.map(|(_, target)| target).collect();
        let is_known =
            |target: &Arc<Target>| known.iter().any(|known| Arc::ptr_eq(known.entrance(), target.entrance()));
        let targets = now.targets().iter().enumerate();
        *tried = targets.filter(|(_, target)| is_known(target)).map(|(index, _)| index).collect();
    }

    /// True if the policy found nobody because all workers that may serve the request are full, but for
    /// those that gave no answer. They may be tried again then, this request at one of them and no more:
    /// it gets the worker's own answer, and those that free a place get somebody to fill it.
    pub(crate) fn finds_all_full(&mut self, snapshot: &Snapshot, eligible: Option<&WorkerSet>) -> bool {
        // One that has such an answer may have it from a full worker.
        let has_answer = self.last.as_ref().is_some_and(|last| last.teller() == Teller::Engine);
        if has_answer || !self.retries.find_crowded() {
            return false;
        }
        let admits = |index: usize| {
            eligible.is_none_or(|set| set.contains(index))
                && self.workers.as_ref().is_none_or(|tried| !tried.contains(index))
        };
        let targets = snapshot.targets().iter().enumerate().filter(|(index, _)| admits(*index));
        let fit: Vec<&Arc<Target>> =
            targets.map(|(_, target)| target).filter(|target| target.is_fit()).collect();
        let of = |role| fit.iter().filter(move |target| target.worker().role() == role);
        // A pair needs both halves, so it is enough that one of them is full.
        let is_full = |role: &WorkerRole| {
            of(*role).next().is_some() && of(*role).all(|target| target.fullness().was_full())
        };
        let roles = [WorkerRole::Regular, WorkerRole::Prefill, WorkerRole::Decode];
        let full: Vec<WorkerRole> = roles.into_iter().filter(is_full).collect();
        for target in full.iter().flat_map(|role| of(*role)) {
            if target.fullness().open() {
                target.refresh();
            }
        }
        !full.is_empty()
    }

    /// True if a retry is left for a request whose connection breaks.
    pub(crate) fn has_for_break(&self) -> bool {
        self.retries.has_for_break()
    }

    /// True if a worker of the same role as the one at `index` may be chosen in its stead.
    pub(crate) fn could_replace(
        &self,
        snapshot: &Snapshot,
        eligible: Option<&WorkerSet>,
        index: usize,
    ) -> bool {
        let role = |target: &Arc<Target>| target.worker().role();
        let own = snapshot.target(index).map(role);
        let may = |other: usize| {
            snapshot.with_siblings(index).all(|sibling| sibling != other)
                && eligible.is_none_or(|set| set.contains(other))
                && self.workers.as_ref().is_none_or(|tried| !tried.contains(other))
        };
        let mut targets = snapshot.targets().iter().enumerate();
        targets.any(|(other, target)| may(other) && Some(role(target)) == own && target.worker().is_healthy())
    }

    /// Keeps an outcome in case nobody does better, unless what is kept tells the client more. Its
    /// worker is done with the request.
    pub(crate) fn keep(&mut self, mut outcome: Outcome) {
        outcome.let_go();
        if self.last.as_ref().is_none_or(|last| last.teller() <= outcome.teller()) {
            self.last = Some(outcome);
        }
    }

    /// What the client is told if there is no retry after this outcome: one that ends the request by
    /// itself counts; one that would have been tried elsewhere, only if no earlier one tells more.
    pub(crate) fn settle(&mut self, outcome: Outcome) -> Outcome {
        let is_final = self.retries.is_final(outcome.ending());
        match self.last.take() {
            Some(last) if !is_final && last.teller() > outcome.teller() => last,
            _ => outcome,
        }
    }

    /// The outcome that counts if nobody else is left.
    pub(crate) fn take_last(&mut self) -> Option<Outcome> {
        self.last.take()
    }
}
