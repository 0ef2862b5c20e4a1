//! The static facts of all workers, which a guest is told once for each table.

use sgl_policy_abi::{KnownEngine, KnownModels, Labels, WorkerFacts, Writer, encode_table, encode_worker};

use crate::core::candidate_workers::CandidateWorkers;
use crate::core::engine_facts::EngineFacts;
use crate::core::model_names::ModelNames;
use crate::core::worker::Worker;

/// Names of models may take this part of an instance's memory. A fleet whose workers have many adapters
/// makes a table that is no danger to a plugin that never looks at them.
const MODEL_NAMES_SHARE: usize = 32;

/// Bytes of an encoded name beside its own: the longest needs two for its length.
const NAME_HEADER: usize = 3;

/// Bytes that names of models may take in a table for instances of so much memory.
pub(crate) fn model_name_bytes_of(memory_bytes: usize) -> usize {
    memory_bytes / MODEL_NAMES_SHARE
}

/// What is left of the bytes that names of models may take. Workers get theirs in the order of the table;
/// those of one for whom they would not fit are left out, as if they were not known.
struct NameRoom(usize);

impl NameRoom {
    fn take<'a>(&mut self, facts: &'a EngineFacts) -> Option<&'a ModelNames> {
        let names = facts.models.as_ref()?;
        let bytes: usize = names.as_slice().iter().map(|name| name.len() + NAME_HEADER).sum();
        self.0 = self.0.checked_sub(bytes)?;
        Some(names)
    }
}

/// Bytes that [`encode_workers`] takes at most, with so many for names of models.
pub(crate) fn workers_bound<C: CandidateWorkers>(workers: &C, name_bytes: usize) -> usize {
    let mut room = NameRoom(name_bytes);
    let bytes = |worker: &dyn Worker| {
        let labels: usize = worker.labels().iter().map(|(key, value)| key.len() + value.len() + 10).sum();
        let known = Some(worker.engine()).filter(|engine| !engine.is_unknown());
        let engine = known.map_or(0, |engine| engine.name.as_deref().map_or(0, str::len) + 130);
        // Afterwards less is left.
        let _ = room.take(worker.engine());
        worker.url().len() + worker.model_id().map_or(0, str::len) + engine + labels + 80
    };
    let all: usize = (0..workers.len()).filter_map(|index| workers.worker(index)).map(bytes).sum();
    all + (name_bytes - room.0) + 64
}

/// Writes the static facts of all workers, with so many bytes for names of models; `None` if they do not fit.
pub(crate) fn encode_workers<C: CandidateWorkers>(
    buffer: &mut [u8],
    workers: &C,
    name_bytes: usize,
) -> Option<usize> {
    let mut room = NameRoom(name_bytes);
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
            engine: known(worker.engine(), &mut room),
        };
        let labels = worker.labels().iter().map(|(key, value)| (key.as_str(), value.as_str()));
        encode_worker(&mut writer, &facts, labels).ok()?;
    }
    Some(writer.position())
}

fn known<'a>(facts: &'a EngineFacts, room: &mut NameRoom) -> KnownEngine<'a> {
    KnownEngine {
        name: facts.name.as_deref(),
        kv_capacity_tokens: facts.kv_capacity_tokens,
        block_size: facts.block_size,
        max_running_requests: facts.max_running_requests,
        dp_rank: facts.dp_rank,
        models: room.take(facts).and_then(|names| KnownModels::new(names.as_slice())),
    }
}
