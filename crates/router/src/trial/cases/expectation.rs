//! What is expected of a decision, or of several alike.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::trial::cases::share_bound::allowed;
use crate::trial::described_request::WorkerName;
use crate::trial::trial_decision::{TrialDecision, TrialOutcome};
use crate::trial::trial_fleet::TrialFleet;
use sglang_router_rs::policies::FailureCause;

/// Differences that are none of a cost.
const COST_TOLERANCE: f32 = 1e-6;

/// What is expected; all that is given must hold.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Expectation {
    /// This worker.
    worker: Option<WorkerName>,
    /// One of these.
    one_of: Option<Vec<WorkerName>>,
    /// Anything but these workers.
    none_of: Option<Vec<WorkerName>>,
    /// These workers for prefill and decode.
    pair: Option<(WorkerName, WorkerName)>,
    /// One decision after another.
    order: Option<Vec<WorkerName>>,
    /// Of many decisions such a share at each worker, and nothing at others.
    shares: Option<BTreeMap<String, f64>>,
    /// The request is to wait.
    wait: Option<bool>,
    /// The client is to come again later.
    shed: Option<bool>,
    /// After so long.
    retry_after_ms: Option<u64>,
    /// Nobody is chosen.
    nobody: Option<bool>,
    /// It fails for this cause.
    failure: Option<String>,
    tag: Option<u64>,
    cost: Option<f32>,
    /// A part of the reason.
    reason: Option<String>,
}

/// Whether a kind of outcome is expected, how it is told, and its name.
type ExpectedKind = (bool, fn(&TrialOutcome) -> bool, &'static str);

/// What was expected and found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Compared {
    pub(crate) expected: String,
    pub(crate) found: String,
    pub(crate) holds: bool,
}

impl Expectation {
    /// True if it says something of how often.
    pub(crate) fn is_of_many(&self) -> bool {
        self.order.is_some() || self.shares.is_some()
    }

    /// Compares decisions, one at least, with it.
    ///
    /// # Errors
    ///
    /// It names a worker that is not there, or cannot be met.
    pub(crate) fn compare(
        &self,
        fleet: &TrialFleet,
        decided: &[TrialDecision],
    ) -> Result<Vec<Compared>, String> {
        let mut compared = self.places(fleet, decided)?;
        for (wanted, is_it, name) in self.kinds() {
            let expected = if wanted { name.to_owned() } else { format!("not {name}") };
            compared.push(each(decided, expected, |one| is_it(&one.outcome) == wanted));
        }
        if let Some(ms) = self.retry_after_ms {
            let shed = TrialOutcome::Shed { retry_after_ms: ms };
            compared.push(each(decided, shed.text(), |one| one.outcome == shed));
        }
        if let Some(cause) = &self.failure {
            compared.push(each(decided, format!("failed ({cause})"), |one| {
                matches!(&one.outcome, TrialOutcome::Failed { cause: found, .. } if found.as_str() == cause)
            }));
        }
        if let Some(names) = &self.order {
            compared.push(in_order(&places(fleet, names)?, fleet, decided)?);
        }
        if let Some(shares) = &self.shares {
            compared.extend(in_shares(shares, fleet, decided)?);
        }
        compared.extend(self.said(decided));
        if compared.is_empty() {
            // A decision that nothing is expected of must be one.
            compared.push(each(decided, "no failure".to_owned(), |one| !one.outcome.is_failure()));
        }
        Ok(compared)
    }

    /// What is expected of who is chosen.
    fn places(&self, fleet: &TrialFleet, decided: &[TrialDecision]) -> Result<Vec<Compared>, String> {
        let mut compared = Vec::new();
        let urls =
            |places: &[usize]| places.iter().map(|place| fleet.url(*place)).collect::<Vec<_>>().join(", ");
        if let Some(name) = &self.worker {
            let place = fleet.place(name)?;
            let url = fleet.url(place).to_owned();
            compared.push(each(decided, url, |one| one.outcome.workers() == [place]));
        }
        if let Some(names) = &self.one_of {
            let allowed = places(fleet, names)?;
            compared.push(each(
                decided,
                format!("one of {}", urls(&allowed)),
                |one| matches!(one.outcome.workers(), [worker] if allowed.contains(worker)),
            ));
        }
        if let Some(names) = &self.none_of {
            let refused = places(fleet, names)?;
            compared.push(each(decided, format!("none of {}", urls(&refused)), |one| {
                let workers = one.outcome.workers();
                !workers.is_empty() && !workers.iter().any(|worker| refused.contains(worker))
            }));
        }
        if let Some((prefill, decode)) = &self.pair {
            let pair = [fleet.place(prefill)?, fleet.place(decode)?];
            let expected = pair.map(|place| fleet.url(place)).join(" + ");
            compared.push(each(decided, expected, |one| one.outcome.workers() == pair));
        }
        Ok(compared)
    }

    /// Kinds of outcomes that are expected, or are not.
    fn kinds(&self) -> Vec<ExpectedKind> {
        let wait: fn(&TrialOutcome) -> bool = |outcome| matches!(outcome, TrialOutcome::Wait { .. });
        let shed: fn(&TrialOutcome) -> bool = |outcome| matches!(outcome, TrialOutcome::Shed { .. });
        let nobody: fn(&TrialOutcome) -> bool = |outcome| {
            let is_failed = |outcome: &TrialOutcome| {
                matches!(outcome, TrialOutcome::Failed { cause: FailureCause::NoChoice, .. })
            };
            matches!(outcome, TrialOutcome::Nobody | TrialOutcome::NoWorker) || is_failed(outcome)
        };
        let all = [(self.wait, wait, "wait"), (self.shed, shed, "shed"), (self.nobody, nobody, "nobody")];
        all.into_iter().filter_map(|(wanted, is_it, name)| Some((wanted?, is_it, name))).collect()
    }

    /// What was said with the last decision.
    fn said(&self, decided: &[TrialDecision]) -> Vec<Compared> {
        let Some(last) = decided.last() else { return Vec::new() };
        let (tag, costs) = match &last.outcome {
            TrialOutcome::Chosen { tag, costs, .. } => (*tag, costs.as_slice()),
            _ => (None, &[][..]),
        };
        let mut compared = Vec::new();
        if let Some(expected) = self.tag {
            let found = tag.map_or("no tag".to_owned(), |tag| format!("tag {tag}"));
            compared.push(Compared {
                expected: format!("tag {expected}"),
                found,
                holds: tag == Some(expected),
            });
        }
        if let Some(expected) = self.cost {
            let found = costs.first().copied();
            let near = |cost: f32| (cost - expected).abs() <= COST_TOLERANCE * expected.abs().max(1.0);
            let text = found.map_or("no cost".to_owned(), |cost| format!("cost {cost}"));
            compared.push(Compared {
                expected: format!("cost {expected}"),
                found: text,
                holds: found.is_some_and(near),
            });
        }
        if let Some(expected) = &self.reason {
            let reason = last.explained.reason.as_deref();
            let holds = reason.is_some_and(|reason| reason.contains(expected.as_str()));
            let found = reason.map_or("no reason".to_owned(), |reason| format!("reason {reason:?}"));
            compared.push(Compared { expected: format!("a reason with {expected:?}"), found, holds });
        }
        compared
    }
}

/// What is expected of each decision; found is the first that is otherwise.
fn each(decided: &[TrialDecision], expected: String, holds: impl Fn(&TrialDecision) -> bool) -> Compared {
    let odd = decided.iter().find(|decision| !holds(decision));
    let found = odd.or(decided.first()).map(|one| one.outcome.text()).unwrap_or_default();
    Compared { expected, found, holds: odd.is_none() }
}

fn places(fleet: &TrialFleet, names: &[WorkerName]) -> Result<Vec<usize>, String> {
    names.iter().map(|name| fleet.place(name)).collect()
}

fn in_order(places: &[usize], fleet: &TrialFleet, decided: &[TrialDecision]) -> Result<Compared, String> {
    if places.len() != decided.len() {
        return Err(format!(
            "order: it has {} workers, and times is {}; both must be alike",
            places.len(),
            decided.len()
        ));
    }
    let url = |place: &usize| fleet.url(*place).to_owned();
    let found: Vec<String> = decided
        .iter()
        .map(|one| one.outcome.workers().first().map_or_else(|| one.outcome.text(), url))
        .collect();
    let expected: Vec<String> = places.iter().map(url).collect();
    Ok(Compared { holds: found == expected, expected: expected.join(", "), found: found.join(", ") })
}

fn in_shares(
    shares: &BTreeMap<String, f64>,
    fleet: &TrialFleet,
    decided: &[TrialDecision],
) -> Result<Vec<Compared>, String> {
    let sum: f64 = shares.values().sum();
    if (sum - 1.0).abs() > 1e-6 || shares.values().any(|share| !(0.0..=1.0).contains(share)) {
        return Err(format!("shares: they add up to {sum}; allowed: shares of 0 to 1 that add up to 1"));
    }
    let times = u32::try_from(decided.len()).map_err(|_| "times: too many".to_owned())?;
    let count = |is_it: &dyn Fn(&TrialOutcome) -> bool| {
        u32::try_from(decided.iter().filter(|one| is_it(&one.outcome)).count()).unwrap_or(u32::MAX)
    };
    let mut listed = Vec::new();
    let mut compared = Vec::new();
    for (name, share) in shares {
        let name = name.parse().map_or_else(|_| WorkerName::Url(name.clone()), WorkerName::Place);
        let place = fleet.place(&name)?;
        listed.push(place);
        let (least, most) = allowed(*share, times, shares.len());
        let found = count(&|outcome| outcome.workers() == [place]);
        compared.push(Compared {
            expected: format!(
                "{}: {:.2} % of {times}, which is {least} to {most}",
                fleet.url(place),
                share * 100.0
            ),
            found: format!("{found} ({:.2} %)", f64::from(found) / f64::from(times.max(1)) * 100.0),
            holds: (least..=most).contains(&found),
        });
    }
    let others = count(&|outcome| !matches!(outcome.workers(), [worker] if listed.contains(worker)));
    if others > 0 {
        let odd =
            decided.iter().find(|one| !matches!(one.outcome.workers(), [worker] if listed.contains(worker)));
        let text = odd.map(|one| one.outcome.text()).unwrap_or_default();
        compared.push(Compared {
            expected: "nothing else".to_owned(),
            found: format!("{others} others, such as {text}"),
            holds: false,
        });
    }
    Ok(compared)
}
