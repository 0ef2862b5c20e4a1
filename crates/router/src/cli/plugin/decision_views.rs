//! Decisions of `run`: the one place where their JSON is defined.

use serde::Serialize;

use crate::trial::told_question::ToldQuestion;
use crate::trial::trial_decision::TrialOutcome;

/// What was decided.
#[derive(Debug, Serialize)]
pub(crate) struct DecisionsView {
    /// The module, as it was typed.
    pub(crate) file: String,
    /// URLs of the workers.
    pub(crate) workers: Vec<String>,
    pub(crate) seed: u64,
    /// One for each request.
    pub(crate) requests: Vec<RequestOutcomes>,
}

/// What was decided of a request.
#[derive(Debug, Serialize)]
pub(crate) struct RequestOutcomes {
    /// The first decision.
    #[serde(flatten)]
    pub(crate) first: DecisionView,
    /// How often each came out, where it was decided more than once; the most frequent first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) shares: Vec<OutcomeShare>,
}

/// A decision.
#[derive(Debug, Serialize)]
pub(crate) struct DecisionView {
    pub(crate) outcome: TrialOutcome,
    /// One for each worker, where the plugin gave them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) scores: Vec<f32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) reason: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) told: Option<ToldQuestion>,
}

/// How often something came out.
#[derive(Debug, Serialize)]
pub(crate) struct OutcomeShare {
    pub(crate) outcome: TrialOutcome,
    pub(crate) times: u32,
    pub(crate) share: f64,
}

impl RequestOutcomes {
    /// True if the plugin failed at it.
    pub(crate) fn failed(&self) -> bool {
        self.first.outcome.is_failure() || self.shares.iter().any(|share| share.outcome.is_failure())
    }
}
