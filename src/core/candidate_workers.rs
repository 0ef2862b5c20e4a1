//! What a policy chooses from, whoever owns it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::core::moment::Now;
use crate::core::worker::Worker;
use crate::core::{books, moment};
use sgl_policy_abi::{Column, WorkerRole};

/// Each byte of -1.
pub(crate) const UNKNOWN_MATCH: u8 = 0xff;

/// Names one list of workers: no two different lists in the process have the same version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TableVersion(u64);

impl TableVersion {
    /// A version that no list has had yet.
    pub fn next() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        // Relaxed: only uniqueness matters.
        Self(NEXT.fetch_add(1, Ordering::Relaxed))
    }

    /// The number that plugins see.
    pub fn get(self) -> u64 {
        self.0
    }
}

/// The workers of one decision: static facts by index, changing numbers by column.
///
/// Two implementations: the router's own [`crate::core::WorkerTable`], whose columns are copied
/// in bulk, and [`SliceCandidates`] over an embedder's workers, which asks each of them.
pub trait CandidateWorkers: Send + Sync {
    /// Names the list of workers; equal versions mean equal lists.
    fn version(&self) -> TableVersion;

    /// True for the router's own table: all requests that may go to any worker see this one list,
    /// whatever its version. Default: false.
    fn is_fleet(&self) -> bool {
        false
    }

    /// How many workers there are. Indexes are below it.
    fn len(&self) -> usize;

    /// True if there are no workers.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The static facts of a worker.
    fn worker(&self, index: usize) -> Option<&dyn Worker>;

    /// The part of a request that the worker serves in this decision; `Regular` beyond the end.
    fn role(&self, index: usize) -> WorkerRole {
        self.worker(index).map_or(WorkerRole::Regular, Worker::role)
    }

    /// True if the worker may be chosen; false beyond the end.
    fn is_healthy(&self, index: usize) -> bool;

    /// Requests in flight to the worker from this router; 0 beyond the end.
    fn load(&self, index: usize) -> usize;

    /// Writes a column into `out`, [`Column::WIDTH`] bytes a worker; `out` has that length.
    fn fill(&self, column: Column, out: &mut [u8]);

    /// The same for one of several columns of a message, which share a look at the clock. Default:
    /// [`fill`](Self::fill).
    fn fill_at(&self, column: Column, out: &mut [u8], _now: &Now) {
        self.fill(column, out);
    }

    /// The same for several columns of a message: each goes behind `gap` bytes of `out`, which stay as they
    /// are. Default: one after another by [`fill_at`](Self::fill_at).
    fn fill_columns(&self, columns: &[Column], gap: usize, out: &mut [u8], now: &Now) {
        fill_each(self, columns, gap, out, now);
    }

    /// Writes into `out`, [`Column::WIDTH`] bytes a worker, how many tokens of a prompt with these block
    /// hashes each worker is believed to hold; -1 where nobody knows. Default: -1 for all.
    fn fill_prefix_match(&self, prefix_hashes: &[u64], block_tokens: f32, out: &mut [u8]) {
        let _ = (prefix_hashes, block_tokens);
        out.fill(UNKNOWN_MATCH);
    }

    /// The same for one worker; `None` where nobody knows. Default: `None`.
    fn prefix_match(&self, index: usize, prefix_hashes: &[u64], block_tokens: f32) -> Option<i32> {
        let _ = (index, prefix_hashes, block_tokens);
        None
    }

    /// Writes the health bits into `out`, `len().div_ceil(8)` bytes, unused bits zero.
    fn fill_healthy(&self, out: &mut [u8]);
}

/// [`CandidateWorkers::fill_columns`] column by column.
pub(crate) fn fill_each<C: CandidateWorkers + ?Sized>(
    workers: &C,
    columns: &[Column],
    gap: usize,
    out: &mut [u8],
    now: &Now,
) {
    let each = gap + workers.len() * Column::WIDTH;
    // Without workers and without a gap there is nothing to write.
    for (column, part) in columns.iter().zip(out.chunks_exact_mut(each.max(1))) {
        workers.fill_at(*column, part.get_mut(gap..).unwrap_or_default(), now);
    }
}

/// Candidates over a slice of an embedder's workers.
#[derive(Clone, Copy, Debug)]
pub struct SliceCandidates<'a> {
    version: TableVersion,
    workers: &'a [Arc<dyn Worker>],
    /// How many of them are offered for prefill, while the rest is offered for decode; `None` if each
    /// worker's own role counts.
    prefills: Option<usize>,
}

impl<'a> SliceCandidates<'a> {
    /// `version` must be the one that names exactly these workers.
    pub fn new(version: TableVersion, workers: &'a [Arc<dyn Worker>]) -> Self {
        Self { version, workers, prefills: None }
    }

    /// Offers the first `prefills` workers for prefill and the rest for decode, whatever their own
    /// roles. `version` must be the one that names exactly this.
    pub fn pair(version: TableVersion, workers: &'a [Arc<dyn Worker>], prefills: usize) -> Self {
        Self { version, workers, prefills: Some(prefills) }
    }
}

impl CandidateWorkers for SliceCandidates<'_> {
    fn version(&self) -> TableVersion {
        self.version
    }

    fn len(&self) -> usize {
        self.workers.len()
    }

    fn worker(&self, index: usize) -> Option<&dyn Worker> {
        self.workers.get(index).map(|worker| &**worker)
    }

    fn role(&self, index: usize) -> WorkerRole {
        match self.prefills {
            None => self.workers.get(index).map_or(WorkerRole::Regular, |worker| worker.role()),
            Some(prefills) if index < prefills => WorkerRole::Prefill,
            Some(_) => WorkerRole::Decode,
        }
    }

    fn is_healthy(&self, index: usize) -> bool {
        self.workers.get(index).is_some_and(|worker| worker.is_healthy())
    }

    fn load(&self, index: usize) -> usize {
        self.workers.get(index).map_or(0, |worker| worker.load())
    }

    fn fill(&self, column: Column, out: &mut [u8]) {
        for (bytes, worker) in out.chunks_exact_mut(Column::WIDTH).zip(self.workers) {
            let bits = if column == Column::Load {
                i32::try_from(worker.load()).unwrap_or(i32::MAX).cast_unsigned()
            } else if books::is_of_books(column) {
                worker.books().and_then(|books| books.bits(column)).unwrap_or(column.unknown())
            } else {
                worker.report().bits(column)
            };
            bytes.copy_from_slice(&bits.to_le_bytes());
        }
        // What a worker reports has its age already.
        if column == Column::OldestPendingMs {
            moment::into_ages(out, moment::now());
        }
    }

    fn fill_prefix_match(&self, prefix_hashes: &[u64], block_tokens: f32, out: &mut [u8]) {
        for (bytes, worker) in out.chunks_exact_mut(Column::WIDTH).zip(self.workers) {
            let held = worker.prefix_match(prefix_hashes, block_tokens).unwrap_or(-1);
            bytes.copy_from_slice(&held.to_le_bytes());
        }
    }

    fn prefix_match(&self, index: usize, prefix_hashes: &[u64], block_tokens: f32) -> Option<i32> {
        self.workers.get(index)?.prefix_match(prefix_hashes, block_tokens)
    }

    fn fill_healthy(&self, out: &mut [u8]) {
        for (byte, workers) in out.iter_mut().zip(self.workers.chunks(8)) {
            *byte = workers.iter().rev().fold(0, |bits, worker| bits << 1 | u8::from(worker.is_healthy()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A worker that says how much it holds.
    #[derive(Debug)]
    struct Holder(Option<i32>);

    impl Worker for Holder {
        fn url(&self) -> &str {
            "http://w"
        }

        fn is_healthy(&self) -> bool {
            true
        }

        fn load(&self) -> usize {
            0
        }

        fn increment_load(&self) {}

        fn decrement_load(&self) {}

        fn prefix_match(&self, prefix_hashes: &[u64], block_tokens: f32) -> Option<i32> {
            assert_eq!((prefix_hashes, block_tokens), (&[7, 8][..], 16.0));
            self.0
        }
    }

    #[test]
    fn workers_of_a_slice_say_what_they_hold() {
        let workers: [Arc<dyn Worker>; 3] = [Some(5), None, Some(0)].map(|held| Arc::new(Holder(held)) as _);
        let candidates = SliceCandidates::new(TableVersion::next(), &workers);
        let mut out = [0; 3 * Column::WIDTH];
        candidates.fill_prefix_match(&[7, 8], 16.0, &mut out);
        let held: Vec<i32> = out.as_chunks().0.iter().map(|word| i32::from_le_bytes(*word)).collect();
        assert_eq!(held, [5, -1, 0]);
        assert_eq!(candidates.prefix_match(0, &[7, 8], 16.0), Some(5));
        assert_eq!(candidates.prefix_match(3, &[7, 8], 16.0), None);
    }
}
