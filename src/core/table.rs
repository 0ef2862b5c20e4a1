//! The worker table: one immutable, versioned list of workers.

use std::sync::Arc;

use crate::core::candidate_workers::{CandidateWorkers, TableVersion, UNKNOWN_MATCH, fill_each};
use crate::core::fleet_prefixes::{FleetPrefixes, column_order};
use crate::core::fleet_worker::FleetWorker;
use crate::core::moment;
use crate::core::moment::Now;
use crate::core::signals::{CHUNK_SLOTS, SignalChunk};
use crate::core::whole_blocks::WholeBlocks;
use crate::core::worker::Worker;
use crate::prefix_index::ColumnOrder;
use sgl_policy_abi::Column;

/// Neighbouring slots of one chunk, so that their columns can be copied at once.
#[derive(Debug)]
struct SlotRun {
    chunk: &'static SignalChunk,
    first: usize,
    len: usize,
}

/// The workers that a decision may choose from. An index in it means one worker for as long as
/// the table lives; a change of the fleet makes a new table.
#[derive(Debug)]
pub struct WorkerTable {
    version: TableVersion,
    workers: Box<[Arc<FleetWorker>]>,
    runs: Box<[SlotRun]>,
    prefixes: Arc<FleetPrefixes>,
    /// How its workers stand in the prefix index.
    order: ColumnOrder,
    whole: WholeBlocks,
}

impl WorkerTable {
    /// `workers` in slot order.
    pub(crate) fn new(workers: Vec<Arc<FleetWorker>>, prefixes: &Arc<FleetPrefixes>) -> Self {
        let mut runs: Vec<SlotRun> = Vec::new();
        for worker in &workers {
            let (chunk, slot) = worker.slot();
            match runs.last_mut() {
                Some(run) if std::ptr::eq(run.chunk, chunk) && run.first + run.len == slot => run.len += 1,
                _ => runs.push(SlotRun { chunk, first: slot, len: 1 }),
            }
        }
        let order = column_order(workers.iter().map(|worker| &**worker));
        let prefixes = Arc::clone(prefixes);
        let whole = WholeBlocks::of(workers.iter().map(|worker| worker.spec().engine.block_size));
        Self {
            version: TableVersion::next(),
            workers: workers.into(),
            runs: runs.into(),
            prefixes,
            order,
            whole,
        }
    }

    /// The workers, in the order of their indexes.
    pub fn workers(&self) -> &[Arc<FleetWorker>] {
        &self.workers
    }

    /// The worker with this index.
    pub fn get(&self, index: usize) -> Option<&Arc<FleetWorker>> {
        self.workers.get(index)
    }

    /// Notes that a request whose prompt has these block hashes was sent to a worker; `block_tokens` are the
    /// tokens of a block, where they are known and not assumed. It allocates, and it may change the index for
    /// others too: not for a decision's path.
    pub fn sent(&self, index: usize, prefix_hashes: &[u64], block_tokens: Option<f32>) {
        let place = self.get(index).and_then(|worker| worker.indexed());
        if let (Some(prefixes), Some(place)) = (&*self.prefixes.get(), place) {
            prefixes.sent_in_blocks(place, prefix_hashes, block_tokens);
        }
    }

    /// The index of the worker with this URL.
    pub fn position(&self, url: &str) -> Option<usize> {
        self.workers.iter().position(|worker| worker.url() == url)
    }
}

impl CandidateWorkers for WorkerTable {
    #[inline]
    fn version(&self) -> TableVersion {
        self.version
    }

    #[inline]
    fn is_fleet(&self) -> bool {
        true
    }

    #[inline]
    fn len(&self) -> usize {
        self.workers.len()
    }

    fn worker(&self, index: usize) -> Option<&dyn Worker> {
        self.workers.get(index).map(|worker| &**worker as &dyn Worker)
    }

    #[inline]
    fn is_healthy(&self, index: usize) -> bool {
        self.workers.get(index).is_some_and(|worker| worker.is_healthy())
    }

    #[inline]
    fn load(&self, index: usize) -> usize {
        self.workers.get(index).map_or(0, |worker| worker.load())
    }

    fn fill(&self, column: Column, out: &mut [u8]) {
        self.fill_at(column, out, &Now::default());
    }

    #[inline]
    fn fill_at(&self, column: Column, out: &mut [u8], now: &Now) {
        let mut left = &mut *out;
        for run in &self.runs {
            let Some((part, rest)) = left.split_at_mut_checked(run.len * Column::WIDTH) else { return };
            run.chunk.copy(column, run.first, part);
            left = rest;
        }
        if moment::is_in(column) {
            moment::into_ages(out, now.moment());
        }
    }

    #[inline]
    fn fill_columns(&self, columns: &[Column], gap: usize, out: &mut [u8], now: &Now) {
        match &*self.runs {
            [run] => run.chunk.copy_columns(columns, (run.first, run.len), gap, out, now),
            _ => fill_each(self, columns, gap, out, now),
        }
    }

    #[inline]
    fn fill_prefix_match(&self, prefix_hashes: &[u64], block_tokens: f32, out: &mut [u8]) {
        match &*self.prefixes.get() {
            Some(index) => {
                index.fill(prefix_hashes, block_tokens, &self.order, out);
                self.whole.round_column(out);
            }
            None => out.fill(UNKNOWN_MATCH),
        }
    }

    #[inline]
    fn prefix_match(&self, index: usize, prefix_hashes: &[u64], block_tokens: f32) -> Option<i32> {
        let place = self.get(index)?.indexed()?;
        let matched = self.prefixes.get().as_ref()?.matched(place, prefix_hashes, block_tokens);
        Some(self.whole.round(index, matched))
    }

    #[inline]
    fn fill_healthy(&self, out: &mut [u8]) {
        let mut at = 0;
        for run in &self.runs {
            fill_run_bits(run, at, out);
            at += run.len;
        }
    }
}

/// Writes the health bits of one run at bit `at` of `out`, whose bits from there on are free.
#[inline]
fn fill_run_bits(run: &SlotRun, at: usize, out: &mut [u8]) {
    if run.first.is_multiple_of(64) && at.is_multiple_of(64) {
        let out = out.get_mut(at / 8..).unwrap_or_default();
        let (whole, rest) = (run.len / 64, run.len % 64);
        debug_assert!(run.first / 64 + whole <= CHUNK_SLOTS / 64);
        let word = |offset: usize| run.chunk.healthy_word(run.first / 64 + offset);
        let (words, tail) = out.as_chunks_mut::<8>();
        for (offset, bytes) in words.iter_mut().enumerate().take(whole) {
            *bytes = word(offset).to_le_bytes();
        }
        if rest > 0 {
            // The rest of `out` may be shorter than a word: it holds all bits of the run.
            let bits = (word(whole) & ((1 << rest) - 1)).to_le_bytes();
            let tail = words.get_mut(whole).map_or(tail, |bytes| &mut bytes[..]);
            tail.iter_mut().zip(bits).for_each(|(byte, bits)| *byte = bits);
        }
        return;
    }
    // After removals a run may start anywhere. That is rare, and one bit at a time is simple.
    for offset in 0..run.len {
        let index = at + offset;
        let Some(byte) = out.get_mut(index / 8) else { return };
        let bit = 1_u8 << (index % 8);
        *byte = if run.chunk.is_healthy(run.first + offset) { *byte | bit } else { *byte & !bit };
    }
}
