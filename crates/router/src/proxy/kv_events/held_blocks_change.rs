//! What all ranks of a worker hold, as the index of prefixes hears of it.

use std::collections::HashMap;

use sglang_router_rs::prefix_index::{IndexedWorker, PrefixIndex};

/// Blocks of which the index hears at once.
const MAX_RUN: usize = 256;

/// How many blocks of engines' caches stand for each block of the index. Ranks hold the same prefix each for
/// itself, and the worker holds it while one of them does.
pub(crate) type HeldCounts = HashMap<u64, u32>;

/// Tells the index, in runs of blocks: its lock is taken once for each, and not for long.
#[derive(Debug)]
pub(crate) struct HeldBlocksChange<'a> {
    index: &'a PrefixIndex,
    worker: IndexedWorker,
    counts: &'a mut HeldCounts,
    /// The block before the run.
    after: Option<u64>,
    run: Vec<u64>,
    gone: Vec<u64>,
}

impl<'a> HeldBlocksChange<'a> {
    /// For a worker; `counts` are those of all its ranks.
    pub(crate) fn new(index: &'a PrefixIndex, worker: IndexedWorker, counts: &'a mut HeldCounts) -> Self {
        Self { index, worker, counts, after: None, run: Vec::new(), gone: Vec::new() }
    }

    /// One block of an engine more stands for these.
    pub(crate) fn count(&mut self, hashes: &[u64]) {
        for hash in hashes {
            *self.counts.entry(*hash).or_default() += 1;
        }
    }

    /// A block is held, behind another or as the first one of a prompt.
    pub(crate) fn stored(&mut self, after: Option<u64>, hash: u64) {
        self.flush_gone();
        if self.run.last().copied() != after || self.run.is_empty() || self.run.len() >= MAX_RUN {
            self.flush_run();
            self.after = after;
        }
        self.run.push(hash);
    }

    /// One block of an engine less stands for these.
    pub(crate) fn removed(&mut self, hashes: &[u64]) {
        self.flush_run();
        for hash in hashes {
            let Some(count) = self.counts.get_mut(hash) else { continue };
            *count -= 1;
            if *count == 0 {
                self.counts.remove(hash);
                self.gone.push(*hash);
            }
        }
        if self.gone.len() >= MAX_RUN {
            self.flush_gone();
        }
    }

    /// Nothing is held any more, by no rank.
    pub(crate) fn cleared(&mut self) {
        self.run.clear();
        self.gone.clear();
        *self.counts = HeldCounts::new();
        self.index.cleared(self.worker);
    }

    fn flush_run(&mut self) {
        if !self.run.is_empty() {
            // False if there is no memory, or what is before it was forgotten: then less is believed.
            self.index.stored(self.worker, self.after, &self.run);
            self.run.clear();
        }
    }

    fn flush_gone(&mut self) {
        if !self.gone.is_empty() {
            self.index.removed(self.worker, &self.gone);
            self.gone.clear();
        }
    }
}

impl Drop for HeldBlocksChange<'_> {
    fn drop(&mut self) {
        self.flush_run();
        self.flush_gone();
    }
}
