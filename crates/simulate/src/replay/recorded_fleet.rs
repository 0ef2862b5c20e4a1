//! The workers of a decision as they were.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use crate::replay::recorded_worker::RecordedWorker;
use sgl_api::{CandidateRecord, DecisionRecord};
use sglang_router_rs::core::{Worker, WorkerRole};
use sglang_router_rs::types::WorkerSet;

/// Workers that are remembered: beyond that all are forgotten, which costs messages and no correctness.
const REMEMBERED: usize = 4096;

/// The workers of all decisions. The same worker is the same one in each, so that plugins are told of
/// workers only when they change.
#[derive(Debug, Default)]
pub(crate) struct RecordedFleet {
    known: HashMap<String, Arc<RecordedWorker>>,
}

/// The workers of one decision.
pub(crate) struct DecisionWorkers {
    /// In the order of the record; of a pair, those for prefill and then those for decode.
    pub(crate) workers: Vec<Arc<dyn Worker>>,
    /// Where each of them is in the record.
    pub(crate) places: Vec<usize>,
    /// Those that the request admitted; `None` if it admitted all.
    pub(crate) eligible: Option<WorkerSet>,
    /// How many are offered for prefill, if a pair is to be chosen.
    pub(crate) prefills: Option<usize>,
}

impl RecordedFleet {
    /// The workers of this decision, which show its numbers from now on.
    pub(crate) fn show(&mut self, decision: &DecisionRecord) -> DecisionWorkers {
        let candidates = &decision.candidates;
        let with_role = |role| {
            let of_role = candidates.iter().enumerate().filter(move |(_, one)| one.role == role);
            of_role.map(|(place, _)| place).collect::<Vec<usize>>()
        };
        let (places, prefills) = if is_pair(decision) {
            let prefills = with_role(WorkerRole::Prefill);
            let count = prefills.len();
            ([prefills, with_role(WorkerRole::Decode)].concat(), Some(count))
        } else {
            ((0..candidates.len()).collect(), None)
        };
        let chosen = || places.iter().filter_map(move |place| candidates.get(*place));
        let workers = chosen().map(|candidate| self.worker(candidate) as Arc<dyn Worker>).collect();
        let eligible = chosen().any(|candidate| !candidate.admitted).then(|| {
            let mut set = WorkerSet::with_capacity(places.len());
            let admitted = chosen().enumerate().filter(|(_, candidate)| candidate.admitted);
            admitted.for_each(|(index, _)| set.insert(index));
            set
        });
        DecisionWorkers { workers, places, eligible, prefills }
    }

    fn worker(&mut self, candidate: &CandidateRecord) -> Arc<RecordedWorker> {
        let known = self.known.get(&candidate.url).filter(|known| known.is(candidate)).map(Arc::clone);
        let worker = known.unwrap_or_else(|| {
            if self.known.len() >= REMEMBERED {
                self.known.clear();
            }
            let worker = Arc::new(RecordedWorker::new(candidate));
            self.known.insert(candidate.url.clone(), Arc::clone(&worker));
            worker
        });
        worker.show(candidate);
        worker
    }
}

/// True if a prefill and a decode worker were chosen, or were to be.
fn is_pair(decision: &DecisionRecord) -> bool {
    let admits = |role| decision.candidates.iter().any(|one| one.admitted && one.role == role);
    match decision.chosen.len() {
        0 => !admits(WorkerRole::Regular) && admits(WorkerRole::Prefill) && admits(WorkerRole::Decode),
        count => count == 2,
    }
}

impl fmt::Debug for DecisionWorkers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DecisionWorkers").field("places", &self.places).finish_non_exhaustive()
    }
}
