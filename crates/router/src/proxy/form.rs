//! How a request is served: by one worker, or by a pair. What the loop of attempts leaves to each.

use crate::manage::placing::RequestPolicy;
use crate::proxy::culprit::Culprit;
use crate::proxy::others::Others;
use crate::proxy::outcome::Outcome;
use crate::proxy::prefill_guard::PrefillGuard;
use crate::proxy::proxy_error::ProxyError;
use crate::proxy::retry::{Ending, SecondRun};
use crate::proxy::shape::Shape;
use crate::proxy::snapshot::Snapshot;
use crate::proxy::tried::{Selection, Tried};
use crate::records::Draft;
use crate::records::asked::Asked;
use sglang_router_rs::core::WorkerTable;
use sglang_router_rs::policies::{Chooser, DecideError, PolicyHandle, SelectWorkerInfo};

/// A request in one of its forms: how a decision is made, placed and tried.
pub(crate) trait Form {
    /// What the policy says.
    type Decision;
    /// A decision at the workers that let it through.
    type Placed;
    /// What an attempt leaves behind, before it is judged.
    type Ended;

    /// Which of the two it is.
    const SHAPE: Shape;

    /// What the request may do once.
    fn second_run(&self) -> &SecondRun;

    /// Asks the policy.
    fn decide(
        policy: &PolicyHandle,
        table: &WorkerTable,
        info: &SelectWorkerInfo<'_>,
    ) -> impl Future<Output = Result<Self::Decision, DecideError>>;

    /// Has it recorded what the policy said.
    fn record(
        record: &mut Draft,
        asked: Asked,
        table: &WorkerTable,
        decided: &Result<Self::Decision, DecideError>,
    );

    /// Who made the decision.
    fn chooser(decision: &Self::Decision) -> Chooser;

    /// Whom the policy chose.
    fn chosen(decision: &Self::Decision) -> Selection;

    /// Places the decision, as [`Tried::place`] does.
    fn place(
        decision: Self::Decision,
        tried: &mut Tried,
        snapshot: &Snapshot,
        policy: &RequestPolicy,
    ) -> Result<Option<Self::Placed>, ProxyError>;

    /// Sends the request, up to the beginning of an answer.
    ///
    /// Not judged here but in [`judge`](Self::judge), so that no future is wrapped into another.
    fn attempt(&self, placed: Self::Placed, others: Others<'_>) -> impl Future<Output = Self::Ended>;

    /// What the attempt came to.
    fn judge(ended: Self::Ended) -> Result<Attempted, ProxyError>;
}

/// What an attempt came to, and by whom.
#[derive(Debug)]
pub(crate) struct Attempted {
    pub(crate) outcome: Outcome,
    /// Whose outcome it is. A worker that serves a request alone stands where the decode half does.
    pub(crate) culprit: Culprit,
    /// How the other half of a pair ended, if it has by then and that matters to a retry.
    pub(crate) other: Option<Ending>,
    /// The prefill half of a pair.
    pub(crate) prefill: Option<PrefillGuard>,
}

impl Attempted {
    /// What the client is told if there is no retry after it, and the prefill half that goes on for
    /// that: unless both halves serve the request, nothing is left running.
    pub(crate) fn settled(self, tried: &mut Tried) -> (Outcome, Option<PrefillGuard>) {
        let Self { outcome, culprit, prefill, .. } = self;
        let outcome = tried.settle(culprit.told(outcome));
        let goes_on = culprit == Culprit::Decode && outcome.is_served();
        (outcome, prefill.filter(|_| goes_on))
    }
}
