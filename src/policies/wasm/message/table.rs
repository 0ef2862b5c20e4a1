//! The static facts of all workers, which a guest is told once for each table.

use sgl_policy_abi::{KnownEngine, Labels, WorkerFacts, Writer, encode_table, encode_worker};

use crate::core::candidate_workers::CandidateWorkers;
use crate::core::engine_facts::EngineFacts;
use crate::core::worker::Worker;

/// Bytes that [`encode_workers`] takes at most.
pub(crate) fn workers_bound<C: CandidateWorkers>(workers: &C) -> usize {
    let bytes = |worker: &dyn Worker| {
        let labels: usize = worker.labels().iter().map(|(key, value)| key.len() + value.len() + 10).sum();
        let known = Some(worker.engine()).filter(|engine| !engine.is_unknown());
        let engine = known.map_or(0, |engine| engine.name.as_deref().map_or(0, str::len) + 120);
        worker.url().len() + worker.model_id().map_or(0, str::len) + engine + labels + 80
    };
    let all: usize = (0..workers.len()).filter_map(|index| workers.worker(index)).map(bytes).sum();
    all + 64
}

/// Writes the static facts of all workers; `None` if they do not fit.
pub(crate) fn encode_workers<C: CandidateWorkers>(buffer: &mut [u8], workers: &C) -> Option<usize> {
    let mut writer = Writer::new(buffer);
    encode_table(&mut writer, workers.version().get(), workers.len()).ok()?;
    for index in 0..workers.len() {
        let worker = workers.worker(index)?;
        let facts = WorkerFacts {
            url: worker.url(),
            model: worker.model_id(),
            role: workers.role(index),
            weight: worker.weight(),
            labels: Labels::default(),
            engine: known(worker.engine()),
        };
        let labels = worker.labels().iter().map(|(key, value)| (key.as_str(), value.as_str()));
        encode_worker(&mut writer, &facts, labels).ok()?;
    }
    Some(writer.position())
}

fn known(facts: &EngineFacts) -> KnownEngine<'_> {
    KnownEngine {
        name: facts.name.as_deref(),
        kv_capacity_tokens: facts.kv_capacity_tokens,
        block_size: facts.block_size,
        max_running_requests: facts.max_running_requests,
        dp_rank: facts.dp_rank,
    }
}
