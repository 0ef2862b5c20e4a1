//! What a decision came to.

use sgl_api::{DecidedBy, DecisionRecord};

/// What a decision came to. Workers are places in the record's list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ReplayChoice {
    /// A worker, or one for prefill and one for decode.
    Placed(Vec<usize>),
    /// The request is to wait.
    Held,
    /// The client is to come again later.
    Shed,
    /// Nobody is chosen though somebody could be: the policy refuses, or failed and is set to reject.
    Nobody,
}

/// A choice and what was said of it.
#[derive(Clone, Debug)]
pub(crate) struct ReplayAnswer {
    pub(crate) choice: ReplayChoice,
    /// Why the fallback decided, if it did, or why nobody did.
    pub(crate) failure: Option<String>,
    /// The policy's reason.
    pub(crate) reason: Option<String>,
    /// True if the fallback decided.
    pub(crate) by_fallback: bool,
}

impl ReplayAnswer {
    /// What was recorded; `None` if a chosen worker is not in the record.
    pub(crate) fn recorded(decision: &DecisionRecord) -> Option<Self> {
        let place =
            |index: &usize| decision.candidates.iter().position(|candidate| candidate.index == *index);
        let choice = if decision.wait.is_some() {
            ReplayChoice::Held
        } else if decision.shed_retry_after_ms.is_some() {
            ReplayChoice::Shed
        } else if decision.chosen.is_empty() {
            ReplayChoice::Nobody
        } else {
            ReplayChoice::Placed(decision.chosen.iter().map(place).collect::<Option<_>>()?)
        };
        Some(Self {
            choice,
            failure: decision.failure_detail.clone().or_else(|| decision.failure.clone()),
            reason: decision.reason.clone(),
            by_fallback: decision.chooser == DecidedBy::Fallback,
        })
    }
}
