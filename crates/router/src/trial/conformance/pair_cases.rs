//! Requests that a prefill and a decode worker serve together.

use serde_json::json;

use crate::trial::conformance::kit_case::{KitBench, KitCase, KitVerdict};
use crate::trial::conformance::kit_session::{prompt, worker};
use crate::trial::described_request::{DescribedLeg, DescribedRequest, WorkerName};
use crate::trial::described_worker::DescribedWorker;
use crate::trial::trial_decision::TrialOutcome;

pub(crate) const CASES: [KitCase; 3] = [
    KitCase {
        name: "pairs/both-halves",
        remedy: "Choose a prefill and a decode worker where both are there: in `select_worker_pair`, if it is \
                 exported, by the roles in the table; else in two decisions, by `healthy`.",
        run: both_halves,
    },
    KitCase {
        name: "pairs/one-half-missing",
        remedy: "Choose no pair where no prefill or no decode worker may be chosen: an empty answer or nil.",
        run: one_half_missing,
    },
    KitCase {
        name: "pairs/legs",
        remedy: "Decide the legs of a pair one by one too: `leg` is 1 for prefill and 2 for decode, and `healthy` has \
                 only workers of that role.",
        run: legs,
    },
];

fn workers() -> Result<Vec<DescribedWorker>, String> {
    let roles = ["prefill", "decode", "decode", "prefill", "prefill", "decode", "decode", "decode", "decode"];
    roles.into_iter().map(|role| worker(json!({"role": role}))).collect()
}

fn pair(tried: &[usize]) -> DescribedRequest {
    let excluded = tried.iter().copied().map(WorkerName::Place).collect();
    DescribedRequest { pair: Some(true), excluded, ..prompt("hi") }
}

fn both_halves(bench: &KitBench<'_>) -> Result<KitVerdict, String> {
    let session = bench.session(&workers()?)?;
    for tried in [&[][..], &[0], &[0, 3], &[1, 2, 5, 6, 7]] {
        let outcome = session.ask(pair(tried))?.outcome;
        let is_none = matches!(outcome, TrialOutcome::NoWorker | TrialOutcome::Nobody);
        if is_none {
            return Err(format!("a pair may be chosen; found {}", outcome.text()));
        }
    }
    Ok(KitVerdict::Passed)
}

fn one_half_missing(bench: &KitBench<'_>) -> Result<KitVerdict, String> {
    let session = bench.session(&workers()?)?;
    for tried in [&[0, 3, 4][..], &[1, 2, 5, 6, 7, 8], &[0, 1, 2, 3, 4, 5, 6, 7, 8]] {
        session.ask_for(pair(tried), &[])?;
    }
    Ok(KitVerdict::Passed)
}

fn legs(bench: &KitBench<'_>) -> Result<KitVerdict, String> {
    let session = bench.session(&workers()?)?;
    let leg = |leg| DescribedRequest { leg: Some(leg), ..prompt("hi") };
    session.ask_for(leg(DescribedLeg::Prefill), &[0, 3, 4])?;
    session.ask_for(leg(DescribedLeg::Decode), &[1, 2, 5, 6, 7, 8])?;
    Ok(KitVerdict::Passed)
}
