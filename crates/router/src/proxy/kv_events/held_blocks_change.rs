//! What all ranks of a worker hold, as the index of prefixes hears of it.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use sglang_router_rs::prefix_index::{IndexedWorker, PrefixIndex, ReportedBlock};

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
    /// What the index calls the block before the run.
    after: Option<u64>,
    run: Vec<u64>,
    /// The engine's names of the blocks of the run; none if the index has their hashes instead.
    names: Vec<u64>,
    /// Blocks of the chain up to the last of a run that has names.
    depth: u32,
    /// How many blocks the index had for the worker, and those that were told since.
    reported: Option<usize>,
    gone: Vec<u64>,
}

impl<'a> HeldBlocksChange<'a> {
    /// For a worker; `others` are those of all its ranks.
    pub(crate) fn new(index: &'a PrefixIndex, worker: IndexedWorker, others: &'a mut OtherHolders) -> Self {
        Self {
            index,
            worker,
            others,
            after: None,
            run: Vec::new(),
            names: Vec::new(),
            depth: 0,
            reported: None,
            gone: Vec::new(),
        }
    }

    /// One block of an engine more stands for this one, which is behind another or the first of a prompt.
    pub(crate) fn stored(&mut self, after: Option<u64>, hash: u64) {
        self.flush_gone();
        let is_next = self.names.is_empty() && after.is_some() && self.run.last().copied() == after;
        self.go_on(after, is_next);
        self.run.push(hash);
    }

    /// The engine has a block of this name, the only one that stands for the one with the hash. It is behind the one
    /// of the name `after`.
    pub(crate) fn stored_as(&mut self, after: Option<u64>, hash: u64, name: u64, depth: u32) {
        self.flush_gone();
        self.go_on(after, after.is_some() && self.names.last().copied() == after);
        self.run.push(hash);
        self.names.push(name);
        self.depth = depth;
        self.reported = self.reported.map(|reported| reported + 1);
    }

    fn go_on(&mut self, after: Option<u64>, is_next: bool) {
        if !is_next || self.run.len() >= MAX_RUN {
            self.flush_run();
            self.after = after;
        }
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

    /// The engine has the block of this name no longer, if it had one.
    pub(crate) fn removed_as(&mut self, name: u64) {
        self.flush_run();
        self.gone.push(name);
        if self.gone.len() >= MAX_RUN {
            self.flush_gone();
        }
    }

    /// The block that the engine reported by this name.
    pub(crate) fn reported(&mut self, name: u64) -> Option<ReportedBlock> {
        if let (Some(hash), true) = (self.run.last(), self.names.last() == Some(&name)) {
            return Some(ReportedBlock { hash: *hash, depth: self.depth });
        }
        self.flush_run();
        self.flush_gone();
        self.index.reported(self.worker, name)
    }

    /// How many blocks the worker has in the index: exactly, if there may be as many as `limit`.
    pub(crate) fn reported_blocks(&mut self, limit: usize) -> usize {
        match self.reported {
            Some(reported) if reported < limit => reported,
            _ => {
                self.flush_run();
                self.flush_gone();
                let reported = self.index.reported_blocks(self.worker);
                self.reported = Some(reported);
                reported
            }
        }
    }

    /// Nothing was held any more then, by no rank.
    pub(crate) fn cleared(&mut self) {
        self.run.clear();
        self.names.clear();
        self.gone.clear();
        self.reported = None;
        *self.others = OtherHolders::new();
        self.index.reported_empty(self.worker);
    }

    fn flush_run(&mut self) {
        if self.run.is_empty() {
            return;
        }
        // None if what is before it was forgotten: then less is believed, as where there is no memory.
        if self.names.is_empty() {
            let known = self.index.stored(self.worker, self.after, &self.run).unwrap_or(0);
            for hash in self.run.iter().take(known) {
                *self.others.entry(*hash).or_default() += 1;
            }
        } else {
            let _known = self.index.stored_as(self.worker, self.after, &self.run, &self.names);
            self.names.clear();
        }
        self.run.clear();
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
