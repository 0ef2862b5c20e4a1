//! What became of a question.

use serde::Serialize;

use crate::trial::told_question::ToldQuestion;
use crate::trial::trial_fleet::TrialFleet;
use sglang_router_rs::core::InFlight;
use sglang_router_rs::policies::{Chooser, DecideError, Decision, Explained, FailureCause};
use sglang_router_rs::types::shown_number;

/// What the host made of an answer.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub(crate) enum TrialOutcome {
    /// A worker, or one for prefill and one for decode.
    Chosen {
        /// Their places in the fleet.
        workers: Vec<usize>,
        /// Their URLs.
        urls: Vec<String>,
        /// The tags that came along.
        #[serde(skip_serializing_if = "Option::is_none")]
        tag: Option<u64>,
        /// The costs that came along, one for each worker.
        costs: Vec<f32>,
    },
    /// The request is to wait.
    Wait {
        /// Its place among those that wait; null if it is infinite.
        key: f64,
        /// For how long at the most; null: as long as the router lets it.
        at_most_ms: Option<u64>,
    },
    /// The client is to come again later.
    Shed {
        /// After so long.
        retry_after_ms: u64,
    },
    /// Nobody was chosen though somebody could have been, on purpose.
    Nobody,
    /// Nobody may be chosen.
    NoWorker,
    /// The plugin failed.
    Failed {
        /// As in metrics.
        #[serde(serialize_with = "cause_name")]
        cause: FailureCause,
        /// In words.
        detail: String,
    },
}

fn cause_name<S: serde::Serializer>(cause: &FailureCause, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(cause.as_str())
}

/// What became of a question.
#[derive(Debug)]
pub(crate) struct TrialDecision {
    pub(crate) outcome: TrialOutcome,
    /// What was said with it.
    pub(crate) explained: Explained,
    /// What was asked, if that was wanted.
    pub(crate) told: Option<ToldQuestion>,
    /// Who chose.
    pub(crate) chooser: Option<Chooser>,
    /// The request at its workers, while this lives.
    pub(crate) in_flight: Vec<InFlight>,
}

impl TrialOutcome {
    /// Those of whom the request is, over the workers of this fleet.
    pub(crate) fn chosen(decisions: &[Decision], fleet: &TrialFleet) -> Self {
        Self::Chosen {
            workers: decisions.iter().map(Decision::index).collect(),
            urls: decisions.iter().map(|decision| fleet.url(decision.index()).to_owned()).collect(),
            tag: decisions.first().and_then(Decision::tag),
            costs: decisions.iter().map(Decision::cost).collect(),
        }
    }

    /// Why there is no decision.
    pub(crate) fn of_error(error: DecideError, explained: &Explained) -> Self {
        let detail = || explained.failure.clone().unwrap_or_default();
        match error {
            DecideError::Wait(wait) => Self::Wait {
                key: wait.key.get(),
                at_most_ms: u64::try_from(wait.at_most.as_millis()).ok().filter(|ms| *ms < u64::MAX / 1000),
            },
            DecideError::Shed { retry_after, .. } => {
                Self::Shed { retry_after_ms: u64::try_from(retry_after.as_millis()).unwrap_or(u64::MAX) }
            }
            DecideError::Refused { .. } => Self::Nobody,
            DecideError::Rejected { cause } => Self::Failed { cause, detail: detail() },
            _ => Self::NoWorker,
        }
    }

    /// The places of the workers; empty for anything else.
    pub(crate) fn workers(&self) -> &[usize] {
        match self {
            Self::Chosen { workers, .. } => workers,
            _ => &[],
        }
    }

    /// The URL of the worker that answers: of a pair that for decode. Empty for anything else.
    pub(crate) fn last_url(&self) -> &str {
        match self {
            Self::Chosen { urls, .. } => urls.last().map_or("", String::as_str),
            _ => "",
        }
    }

    /// The tag that came along.
    pub(crate) fn tag(&self) -> Option<u64> {
        match self {
            Self::Chosen { tag, .. } => *tag,
            _ => None,
        }
    }

    /// True if the plugin failed.
    pub(crate) fn is_failure(&self) -> bool {
        matches!(self, Self::Failed { .. })
    }

    /// The same in words.
    pub(crate) fn text(&self) -> String {
        match self {
            Self::Chosen { workers, urls, .. } => {
                let one = |(place, url): (&usize, &String)| format!("{place} {url}");
                let all: Vec<String> = workers.iter().zip(urls).map(one).collect();
                all.join(" + ")
            }
            Self::Wait { key, at_most_ms: None } => format!("wait, key {}", shown_number(*key)),
            Self::Wait { key, at_most_ms: Some(ms) } => {
                format!("wait, key {}, {ms} ms at the most", shown_number(*key))
            }
            Self::Shed { retry_after_ms } => format!("shed, to come again after {retry_after_ms} ms"),
            Self::Nobody => "nobody, though somebody may be chosen".to_owned(),
            Self::NoWorker => "nobody: no worker may be chosen".to_owned(),
            Self::Failed { cause, detail } => format!("failed ({cause}): {detail}"),
        }
    }
}
