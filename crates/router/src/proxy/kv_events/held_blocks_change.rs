//! What all ranks of a worker hold, as the index of prefixes hears of it.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use sglang_router_rs::prefix_index::{IndexedWorker, PrefixIndex};

/// Blocks of which the index hears at once.
const MAX_RUN: usize = 256;

/// How many blocks of engines' caches stand for a block of the index beside the first one. Ranks hold the same
/// prefix each for itself, and the worker holds it while one of them does. Most blocks have but one, and are not
/// here.
pub(crate) type OtherHolders = HashMap<u64, u32>;

/// Tells the index, in runs of blocks: its lock is taken once for each, and not for long.
#[derive(Debug)]
pub(crate) struct HeldBlocksChange<'a> {
    index: &'a PrefixIndex,
    worker: IndexedWorker,
    others: &'a mut OtherHolders,
    /// The block before the run.
    after: Option<u64>,
    run: Vec<u64>,
    gone: Vec<u64>,
}

impl<'a> HeldBlocksChange<'a> {
    /// For a worker; `others` are those of all its ranks.
    pub(crate) fn new(index: &'a PrefixIndex, worker: IndexedWorker, others: &'a mut OtherHolders) -> Self {
        Self { index, worker, others, after: None, run: Vec::new(), gone: Vec::new() }
    }

    /// One block of an engine more stands for this one, which is behind another or the first of a prompt.
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
            match self.others.entry(*hash) {
                Entry::Vacant(_) => self.gone.push(*hash),
                Entry::Occupied(others) if *others.get() <= 1 => drop(others.remove()),
                Entry::Occupied(mut others) => *others.get_mut() -= 1,
            }
        }
        if self.gone.len() >= MAX_RUN {
            self.flush_gone();
        }
    }

    /// Nothing was held any more then, by no rank.
    pub(crate) fn cleared(&mut self) {
        self.run.clear();
        self.gone.clear();
        *self.others = OtherHolders::new();
        self.index.reported_empty(self.worker);
    }

    fn flush_run(&mut self) {
        if !self.run.is_empty() {
            // None if what is before it was forgotten: then less is believed, as where there is no memory.
            let known = self.index.stored(self.worker, self.after, &self.run).unwrap_or(0);
            for hash in self.run.iter().take(known) {
                *self.others.entry(*hash).or_default() += 1;
            }
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
