//! What is recorded besides where all inputs are.

use crate::records::asked::Asked;
use crate::records::recorder::Recorder;
use sgl_api::{CandidateFacts, CandidateRecord};
use sglang_router_rs::core::WorkerTable;
use sglang_router_rs::policies::SelectWorkerInfo;

/// Hashes of a prompt's blocks that are recorded.
const MAX_HASHES: usize = 1024;

/// Adds to a question what else is known of its request and its workers.
pub(crate) fn add(asked: &mut Asked, recorder: &Recorder, table: &WorkerTable, info: &SelectWorkerInfo<'_>) {
    let (facts, hashes) = (&mut asked.decision.request, info.prefix_hashes.unwrap_or_default());
    facts.path = info.route.map(str::to_owned);
    facts.model = info.model.map(str::to_owned);
    facts.session = info.session.map(|key| recorder.session_number(key));
    facts.prefix_block_tokens = (!hashes.is_empty()).then(|| info.block_tokens());
    facts.prefix_hashes = hashes.get(..MAX_HASHES).unwrap_or(hashes).to_vec();
    asked.decision.candidates.iter_mut().for_each(|candidate| add_facts(candidate, table));
}

/// Adds to a worker what rarely changes of it.
pub(crate) fn add_facts(candidate: &mut CandidateRecord, table: &WorkerTable) {
    let Some(spec) = table.get(candidate.index).map(|worker| worker.spec()) else { return };
    let facts = CandidateFacts {
        weight: spec.weight,
        model: spec.model.clone(),
        labels: spec.labels.clone(),
        engine: spec.engine.clone(),
    };
    candidate.facts = Some(facts).filter(|facts| *facts != CandidateFacts::default());
}
