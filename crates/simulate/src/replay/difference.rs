//! Where two choices differ, and what speaks for each.

use serde::Serialize;

use crate::replay::replay_choice::{ReplayAnswer, ReplayChoice};
use crate::replay::worker_signal::WorkerSignal;
use sgl_api::{CandidateRecord, DecisionRecord, RequestRecord};

/// A decision that was made differently.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct DifferentDecision {
    /// The request's id.
    pub request_id: String,
    /// When it came: milliseconds since 1970, UTC.
    pub time_unix_ms: u64,
    /// Which decision of the request: 1, and more where it waited or was tried anew.
    pub decision: usize,
    /// What it is compared with.
    pub reference: ChoiceShown,
    /// The policy's.
    pub module: ChoiceShown,
}

/// A choice as it is shown.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ChoiceShown {
    /// The worker's URL, two of a pair, or `held`, `shed`, `nobody`.
    pub choice: String,
    /// What speaks for it and against the other choice.
    pub speaks: Vec<SignalShown>,
    /// The reason that the policy gave.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Why its plugin did not decide.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
}

/// A number of a worker that is better than that of the other one.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SignalShown {
    /// The input.
    pub signal: &'static str,
    /// Of this choice.
    pub value: f64,
    /// Of the other.
    pub other: f64,
}

/// One side of a comparison.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ComparedSide<'a> {
    pub(crate) answered: &'a ReplayAnswer,
    /// What its policy sees.
    pub(crate) signals: &'a [WorkerSignal],
}

/// The name of the group to which a different choice belongs.
pub(crate) fn reason(
    decision: &DecisionRecord,
    reference: ComparedSide<'_>,
    module: ComparedSide<'_>,
) -> String {
    use ReplayChoice::{Held, Nobody, Placed, Shed};
    let fixed = match (&reference.answered.choice, &module.answered.choice) {
        _ if module.answered.by_fallback => "the fallback decided",
        _ if reference.answered.by_fallback => "the reference's fallback decided",
        (Placed(first), Placed(second)) => return of_workers(decision, (first, second), module.signals),
        (_, Held) => "held",
        (_, Shed) => "shed",
        (_, Nobody) => "nobody chosen",
        (Held, Placed(_)) => "placed, not held",
        (Shed, Placed(_)) => "placed, not shed",
        (Nobody, Placed(_)) => "placed, where nobody was chosen",
    };
    fixed.to_owned()
}

fn of_workers(
    decision: &DecisionRecord,
    (first, second): (&[usize], &[usize]),
    seen: &[WorkerSignal],
) -> String {
    let Some((other, own)) = different(decision, first, second) else {
        return "another worker".to_owned();
    };
    let more = |signal: &WorkerSignal| if *signal == WorkerSignal::PrefixMatch { "more" } else { "less" };
    match speaking(own, other, seen).first() {
        Some((signal, _)) => format!("another worker: {} {}", more(signal), signal.name()),
        None if seen.iter().any(|signal| signal.of(own) != signal.of(other)) => {
            "another worker: no number speaks for it".to_owned()
        }
        None => "another worker: all numbers alike".to_owned(),
    }
}

/// The workers in which two choices differ: of a pair the first half that does.
fn different<'a>(
    decision: &'a DecisionRecord,
    first: &[usize],
    second: &[usize],
) -> Option<(&'a CandidateRecord, &'a CandidateRecord)> {
    let (one, other) = first.iter().zip(second).find(|(one, other)| one != other)?;
    Some((decision.candidates.get(*one)?, decision.candidates.get(*other)?))
}

/// What is better of one worker than of another.
fn speaking(
    own: &CandidateRecord,
    other: &CandidateRecord,
    signals: &[WorkerSignal],
) -> Vec<(WorkerSignal, (f64, f64))> {
    let numbers = signals.iter().filter_map(|signal| Some((*signal, (signal.of(own)?, signal.of(other)?))));
    numbers.filter(|(signal, (own, other))| signal.is_better(*own, *other)).collect()
}

/// A different choice for people.
pub(crate) fn example(
    record: &RequestRecord,
    number: usize,
    decision: &DecisionRecord,
    reference: ComparedSide<'_>,
    module: ComparedSide<'_>,
) -> DifferentDecision {
    DifferentDecision {
        request_id: record.request_id.clone(),
        time_unix_ms: record.time_unix_ms,
        decision: number + 1,
        reference: shown(decision, reference, module.answered),
        module: shown(decision, module, reference.answered),
    }
}

fn shown(decision: &DecisionRecord, side: ComparedSide<'_>, other: &ReplayAnswer) -> ChoiceShown {
    let url = |place: &usize| decision.candidates.get(*place).map_or("?", |one| one.url.as_str());
    let (choice, speaks) = match (&side.answered.choice, &other.choice) {
        (ReplayChoice::Placed(own), other) => {
            let against = match other {
                ReplayChoice::Placed(places) => different(decision, places, own),
                _ => None,
            };
            let speaks = against.map(|(other, own)| speaking(own, other, side.signals)).unwrap_or_default();
            (own.iter().map(url).collect::<Vec<_>>().join(", "), speaks)
        }
        (ReplayChoice::Held, _) => ("held".to_owned(), Vec::new()),
        (ReplayChoice::Shed, _) => ("shed".to_owned(), Vec::new()),
        (ReplayChoice::Nobody, _) => ("nobody".to_owned(), Vec::new()),
    };
    let speaks = speaks.into_iter().map(|(signal, (value, other))| SignalShown {
        signal: signal.name(),
        value,
        other,
    });
    ChoiceShown {
        choice,
        speaks: speaks.collect(),
        reason: side.answered.reason.clone(),
        failure: side.answered.failure.clone(),
    }
}
