//! What was tried for a request so far.

use std::sync::Arc;

use crate::policies::Decision;
use crate::policies::Policy;
use crate::proxy::forward::Outcome;
use crate::proxy::measures::RetryReason;
use crate::proxy::respond::ProxyError;
use crate::proxy::snapshot::Snapshot;
use crate::proxy::target::Placement;
use crate::types::WorkerSet;

/// The workers that must not be chosen again, and the outcome that counts if none is left.
#[derive(Debug)]
pub(crate) struct Tried {
    workers: Option<WorkerSet>,
    retries_left: u32,
    has_broken: bool,
    last: Option<Outcome>,
}

impl Tried {
    pub(crate) fn new(max_retries: u32) -> Self {
        Self { workers: None, retries_left: max_retries, has_broken: false, last: None }
    }

    /// The workers that were tried.
    pub(crate) fn workers(&self) -> Option<&WorkerSet> {
        self.workers.as_ref()
    }

    /// The decision as a placement; `None` if the circuit breaker does not let it through, which
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
        policy: &Policy,
    ) -> Result<Option<Placement>, ProxyError> {
        let index = decision.index();
        if self.workers.as_ref().is_some_and(|tried| tried.contains(index)) {
            return Err(ProxyError::NoWorker);
        }
        let target: &Arc<_> = snapshot.target(index).ok_or(ProxyError::NoWorker)?;
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

    /// Uses up a retry; false if there is none left. A connection that breaks before the answer is
    /// a reason only once: a request that makes workers crash must not go round all of them.
    pub(crate) fn take_retry(&mut self, reason: RetryReason) -> bool {
        let first = reason != RetryReason::Broken || !std::mem::replace(&mut self.has_broken, true);
        let left = self.retries_left.checked_sub(1).filter(|_| first);
        self.retries_left = left.unwrap_or(self.retries_left);
        left.is_some()
    }

    /// Keeps an outcome in case nobody does better.
    pub(crate) fn keep(&mut self, outcome: Outcome) {
        self.last = Some(outcome);
    }

    /// What the client is told if there is nobody else to try.
    pub(crate) fn give_up(self, error: ProxyError) -> Outcome {
        self.last.unwrap_or(Outcome::Failed { error, retry: None })
    }
}
