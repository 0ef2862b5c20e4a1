//! Workers to choose from, requests to choose for, and what every choice must be.

use std::sync::Arc;
use std::time::Duration;

use sglang_router_rs::core::{CandidateWorkers, Fleet, WorkerRole, WorkerSpec, WorkerTable};
use sglang_router_rs::policies::{
    Chooser, DecideError, Decision, Leg, PromptTokens, SelectWorkerInfo, WaitOffer,
};
use sglang_router_rs::types::WorkerSet;

/// A table of so many workers: prefill, decode and regular in turn, each fifth not healthy.
pub(crate) fn table(workers: usize) -> Arc<WorkerTable> {
    let fleet = Fleet::new();
    for index in 0..workers {
        let role = match index % 3 {
            0 => WorkerRole::Prefill,
            1 => WorkerRole::Decode,
            _ => WorkerRole::Regular,
        };
        let model = (index % 2 == 0).then(|| "m".to_owned());
        let labels = (0..index % 3).map(|n| (format!("k{n}"), "v".repeat(n))).collect();
        let spec = WorkerSpec { role, model, labels, ..WorkerSpec::new(format!("http://w{index}:1")) };
        fleet.add(spec, index % 5 != 4).unwrap();
    }
    fleet.start_prefix_index();
    fleet.table()
}

/// What the requests of one run refer to.
#[derive(Debug)]
pub(crate) struct Requests {
    text: String,
    tokens: Vec<u32>,
    hashes: Vec<u64>,
    headers: Vec<(String, String)>,
    excluded: WorkerSet,
    eligible: WorkerSet,
}

impl Requests {
    pub(crate) fn new() -> Self {
        Self {
            text: "abcdefgh".repeat(40),
            tokens: (0..300).collect(),
            hashes: (0..40).collect(),
            headers: vec![("x-session-id".to_owned(), "s".repeat(40))],
            excluded: [0, 7].into_iter().collect(),
            eligible: [1, 2, 3, 4, 5, 8].into_iter().collect(),
        }
    }

    /// The `number`th request: they differ in what is known of them.
    pub(crate) fn info(&self, number: usize) -> SelectWorkerInfo<'_> {
        let every = |n: usize| number.is_multiple_of(n);
        SelectWorkerInfo {
            request_text: (!every(5)).then(|| &self.text[..number % self.text.len()]),
            tokens: every(2).then(|| &self.tokens[..number % self.tokens.len()]),
            prompt_tokens: every(9).then_some(PromptTokens { count: u32::MAX, exact: every(2) }),
            max_tokens: every(2).then_some(u64::MAX),
            stream: every(3),
            route: every(4).then_some("/v1/chat/completions"),
            session: every(5).then_some("session"),
            prefix_hashes: every(6).then(|| &self.hashes[..number % self.hashes.len()]),
            arrival_rate: every(7).then_some(f32::INFINITY),
            fields: every(8).then_some(&self.headers as _),
            query: every(9).then_some(&self.headers as _),
            wait: every(7).then(|| WaitOffer {
                left: Duration::from_millis(u64::from(every(2))),
                ..WaitOffer::default()
            }),
            headers: every(3).then_some(&self.headers as _),
            model: every(4).then_some("m"),
            leg: [Leg::Single, Leg::Prefill, Leg::Decode][number % 3],
            excluded: every(6).then_some(&self.excluded),
            eligible: every(7).then_some(&self.eligible),
            request_key: every(8).then_some("key"),
            ..SelectWorkerInfo::default()
        }
    }
}

/// Panics unless the outcome is one that a policy with a fallback may have: a worker that exists,
/// is healthy and may be chosen, or the word that nobody was chosen.
pub(crate) fn check(
    table: &WorkerTable,
    info: &SelectWorkerInfo<'_>,
    outcome: &Result<Decision, DecideError>,
) {
    match outcome {
        Ok(decision) => check_decision(table, info, decision),
        Err(DecideError::NoWorker) => {
            let open = |index: usize| table.is_healthy(index) && info.admits(index);
            assert!(!(0..table.workers().len()).any(open), "somebody could be chosen");
        }
        Err(error) => assert!(matches!(error, DecideError::Refused { .. }), "{error:?}"),
    }
}

pub(crate) fn check_decision(table: &WorkerTable, info: &SelectWorkerInfo<'_>, decision: &Decision) {
    let index = decision.index();
    assert!(index < table.workers().len(), "worker {index} does not exist");
    assert!(table.is_healthy(index), "worker {index} is not healthy");
    assert!(info.admits(index), "worker {index} may not be chosen");
    assert_ne!(decision.chooser(), Chooser::Native);
}

/// Panics if a request counts as in flight though all decisions are dropped.
pub(crate) fn nothing_in_flight(table: &WorkerTable) {
    for index in 0..table.workers().len() {
        assert_eq!(table.load(index), 0, "a request to worker {index} is in flight for ever");
    }
}
