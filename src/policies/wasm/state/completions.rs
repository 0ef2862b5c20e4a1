//! Tells plugins of finished requests, in batches, off the request path.

use std::collections::{HashMap, VecDeque};

use parking_lot::Mutex;
use sgl_policy_abi::{Completion, Writer, encode_completions};

use crate::core::candidate_workers::CandidateWorkers;
use crate::policies::load_balancing::RequestCompletion;

/// Finished requests that wait for the next batch; beyond it the oldest are dropped.
const MAX_WAITING: usize = 4096;

/// Bytes that one entry takes at most.
const ENTRY_BYTES: usize = 48;

/// Finished requests of one plugin that were not reported to it yet.
#[derive(Debug, Default)]
pub(crate) struct Completions {
    waiting: Mutex<VecDeque<RequestCompletion>>,
    table: Mutex<KnownTable>,
}

/// The table that the guest learned last, by URL.
#[derive(Debug, Default)]
struct KnownTable {
    version: u64,
    indexes: HashMap<String, u32>,
}

impl Completions {
    /// Adds a finished request; true if it is the first of a new batch.
    pub(crate) fn add(&self, completion: &RequestCompletion) -> bool {
        let mut waiting = self.waiting.lock();
        if waiting.len() >= MAX_WAITING {
            waiting.pop_front();
        }
        waiting.push_back(completion.clone());
        waiting.len() == 1
    }

    /// Remembers what the guest was told, so that completions name workers as it does.
    pub(crate) fn remember<C: CandidateWorkers>(&self, workers: &C) {
        let url = |index| workers.worker(index).map_or("", |worker| worker.url()).to_owned();
        let indexes = (0..workers.len()).filter_map(|index| Some((url(index), u32::try_from(index).ok()?)));
        *self.table.lock() = KnownTable { version: workers.version().get(), indexes: indexes.collect() };
    }

    /// Takes the batch and encodes it; `None` if there is nothing to tell. Requests to workers
    /// that are gone from the table are left out.
    pub(crate) fn take_message(&self) -> Option<Vec<u8>> {
        let batch = std::mem::take(&mut *self.waiting.lock());
        let table = self.table.lock();
        let entry = |done: &RequestCompletion| Some(to_wire(done, *table.indexes.get(&done.worker_url)?));
        let entries: Vec<Completion> = batch.iter().filter_map(entry).collect();
        if entries.is_empty() {
            return None;
        }
        let mut message = vec![0; 32 + entries.len() * ENTRY_BYTES];
        let mut writer = Writer::new(&mut message);
        encode_completions(&mut writer, table.version, entries.iter()).ok()?;
        let used = writer.position();
        message.truncate(used);
        Some(message)
    }
}

fn to_wire(done: &RequestCompletion, worker: u32) -> Completion {
    Completion {
        worker,
        ok: done.success,
        first_byte_ms: done.first_byte.map(|time| time.as_secs_f32() * 1000.0),
        total_ms: Some(done.total.as_secs_f32() * 1000.0),
        prompt_tokens: done.prompt_tokens,
        completion_tokens: done.completion_tokens,
        ..Completion::default()
    }
}
