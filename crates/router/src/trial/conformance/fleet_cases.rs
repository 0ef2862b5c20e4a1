//! Who may be chosen.

use serde_json::json;

use crate::trial::conformance::kit_case::{KitBench, KitCase, KitVerdict};
use crate::trial::conformance::kit_session::{idle, odd_requests, prompt, worker};
use crate::trial::described_request::{DescribedRequest, WorkerName};
use crate::trial::described_worker::DescribedWorker;
use crate::trial::trial_decision::TrialOutcome;

pub(crate) const CASES: [KitCase; 9] = [
    KitCase {
        name: "fleet/self-test",
        remedy: "Answer the decision that each load makes over four healthy, idle workers with one of them: all \
                 others see only that the plugin is not loaded.",
        run: self_test,
    },
    KitCase {
        name: "fleet/nobody-there",
        remedy: "With no workers at all, choose nobody (an empty answer or nil), and do not trap: columns are empty then.",
        run: nobody_there,
    },
    KitCase {
        name: "fleet/one-worker",
        remedy: "Choose the only worker there is, index 0, whatever is known of it.",
        run: one_worker,
    },
    KitCase {
        name: "fleet/nobody-healthy",
        remedy: "Look at `healthy` (worker i is bit i mod 8 of byte i/8) and choose nobody when no bit is set.",
        run: nobody_healthy,
    },
    KitCase {
        name: "fleet/only-one-healthy",
        remedy: "Choose only workers whose bit of `healthy` is set: worker i is bit i mod 8 of byte i/8, also beyond \
                 the first byte.",
        run: only_one_healthy,
    },
    KitCase {
        name: "fleet/tried-before",
        remedy: "Declare `excluded` and pass over workers whose bit is set: they were tried for this request, and \
                 choosing one is a failure.",
        run: tried_before,
    },
    KitCase {
        name: "fleet/all-tried",
        remedy: "When every worker is excluded choose nobody, and not the best of those that were tried.",
        run: all_tried,
    },
    KitCase {
        name: "fleet/other-model",
        remedy: "Choose by `healthy` alone: it is narrowed to workers that serve the request's model already, and a \
                 worker without its bit may not be chosen even if it is up.",
        run: other_model,
    },
    KitCase {
        name: "fleet/ten-thousand",
        remedy: "Decide among 10,000 workers within memory and budget: let buffers grow with the table, and let the \
                 time be linear in the number of workers.",
        run: ten_thousand,
    },
];

fn self_test(bench: &KitBench<'_>) -> Result<KitVerdict, String> {
    let mut settings = bench.settings.clone();
    settings.options.self_test = true;
    bench.session_with(&settings, &idle(1))?;
    Ok(KitVerdict::Passed)
}

fn nobody_there(bench: &KitBench<'_>) -> Result<KitVerdict, String> {
    let mut session = bench.session(&[])?;
    for _ in 0..3 {
        session.ask_for(prompt("hi"), &[])?;
    }
    session.offer(&idle(2));
    session.ask_plainly()?;
    session.offer(&[]);
    session.ask_for(DescribedRequest::default(), &[])?;
    odd_requests().into_iter().try_for_each(|request| session.ask_for(request, &[]))?;
    Ok(KitVerdict::Passed)
}

fn one_worker(bench: &KitBench<'_>) -> Result<KitVerdict, String> {
    let session = bench.session(&idle(1))?;
    let outcome = session.ask_plainly()?.outcome;
    match &outcome {
        TrialOutcome::Chosen { workers, .. } if workers == &[0] => Ok(KitVerdict::Passed),
        TrialOutcome::Wait { .. } | TrialOutcome::Shed { .. } => {
            Err(format!("the only worker is healthy and idle; found: {}", outcome.text()))
        }
        _ => Ok(KitVerdict::Passed),
    }
}

fn down() -> DescribedWorker {
    DescribedWorker { healthy: Some(false), ..DescribedWorker::default() }
}

fn nobody_healthy(bench: &KitBench<'_>) -> Result<KitVerdict, String> {
    for count in [1, 8, 9, 70] {
        bench.session(&vec![down(); count])?.ask_for(prompt("hi"), &[])?;
    }
    Ok(KitVerdict::Passed)
}

fn only_one_healthy(bench: &KitBench<'_>) -> Result<KitVerdict, String> {
    let mut session = bench.session(&[])?;
    for count in [2, 9, 20, 65] {
        for open in [0, 1, 7, 8, 9, count / 2, count - 1] {
            let workers: Vec<DescribedWorker> = (0..count)
                .map(|place| if place == open { DescribedWorker::default() } else { down() })
                .collect();
            session.offer(&workers);
            session.ask_for(prompt("hi"), &[open])?;
        }
    }
    Ok(KitVerdict::Passed)
}

fn tried(places: impl Iterator<Item = usize>) -> DescribedRequest {
    DescribedRequest { excluded: places.map(WorkerName::Place).collect(), ..prompt("hi") }
}

fn tried_before(bench: &KitBench<'_>) -> Result<KitVerdict, String> {
    let session = bench.session(&idle(12))?;
    for open in 0..12 {
        session.ask_for(tried((0..12).filter(|place| *place != open)), &[open])?;
        let others: Vec<usize> = (0..12).filter(|place| *place != open).collect();
        session.ask_for(tried(std::iter::once(open)), &others)?;
    }
    Ok(KitVerdict::Passed)
}

fn all_tried(bench: &KitBench<'_>) -> Result<KitVerdict, String> {
    bench.session(&idle(9))?.ask_for(tried(0..9), &[])?;
    Ok(KitVerdict::Passed)
}

fn other_model(bench: &KitBench<'_>) -> Result<KitVerdict, String> {
    let serving = |model: &str| worker(json!({"model": model}));
    let session = bench.session(&[serving("a")?, serving("b")?, serving("a")?])?;
    for (model, allowed) in [("a", &[0, 2][..]), ("b", &[1]), ("c", &[])] {
        session.ask_for(DescribedRequest { model: Some(model.to_owned()), ..prompt("hi") }, allowed)?;
    }
    Ok(KitVerdict::Passed)
}

fn ten_thousand(bench: &KitBench<'_>) -> Result<KitVerdict, String> {
    let mut session = bench.session(&idle(10_000))?;
    session.ask_plainly()?;
    odd_requests().into_iter().try_for_each(|request| session.ask(request).map(|_| ()))?;
    let last = |place| if place == 9_999 { DescribedWorker::default() } else { down() };
    session.offer(&(0..10_000).map(last).collect::<Vec<_>>());
    session.ask_for(prompt("hi"), &[9_999])?;
    session.offer(&idle(3));
    session.ask_for(prompt("hi"), &[0, 1, 2])?;
    Ok(KitVerdict::Passed)
}
