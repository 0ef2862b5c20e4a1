//! What workers call the blocks that they report: the writer finds them by it.
//!
//! Each block of each node that a worker reports has one slot in the worker's table, wherever nodes are cut or grow.

use crate::prefix_index::block_table::NodeId;
use crate::prefix_index::entries::{EntryId, HoldingSource, PrefixEntry};
use crate::prefix_index::index_writer::IndexWriter;
use crate::prefix_index::name_table::NameSlot;
use crate::prefix_index::named_run::NamedRun;
use crate::prefix_index::shared::Shared;
use crate::prefix_index::words::{UNIT_WORDS, WordsAt, shorter_units};

/// A block that a worker reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReportedBlock {
    /// Its hash, which covers all blocks before it.
    pub hash: u64,
    /// How many blocks the chain has up to it, itself included.
    pub depth: u32,
}

impl IndexWriter {
    /// The block that a worker reported by this name: its entry, and which block of the node it is.
    pub(super) fn find_reported(&self, shared: &Shared, worker: u16, name: u64) -> Option<(EntryId, usize)> {
        self.find_named(shared, worker, name, |_, _| true)
    }

    /// What that block is.
    pub(super) fn reported(&self, shared: &Shared, worker: u16, name: u64) -> Option<ReportedBlock> {
        let (id, at) = self.find_reported(shared, worker, name)?;
        let (entry, depth) = self.entry_and_depth(id)?;
        let depth = u32::try_from(depth + at + 1).unwrap_or(u32::MAX);
        Some(ReportedBlock { hash: shared.hash(entry.node, at)?, depth })
    }

    /// The first block of that name that `is_it` accepts.
    fn find_named(
        &self,
        shared: &Shared,
        worker: u16,
        name: u64,
        is_it: impl Fn(NodeId, usize) -> bool,
    ) -> Option<(EntryId, usize)> {
        let mut place = 0;
        let slot = self.names.find(worker, name, |slot| {
            let own = self.entries.get(slot.entry());
            let at = own.and_then(|own| self.place_of(slot, own.node));
            place = at.unwrap_or_default();
            own.zip(at)
                .is_some_and(|(own, at)| self.name_of(shared, own, at) == Some(name) && is_it(own.node, at))
        })?;
        Some((slot.entry(), place))
    }

    /// Which block of the node it would be.
    #[expect(clippy::cast_possible_truncation, reason = "a node has no more blocks than 8 bits tell apart")]
    fn place_of(&self, slot: NameSlot, node: NodeId) -> Option<usize> {
        let depth = self.tree.get(node)?.depth;
        Some(usize::from(slot.low_depth().wrapping_sub(depth as u8)))
    }

    /// What a worker calls a block; `None` if the node is shorter.
    pub(super) fn name_of(&self, shared: &Shared, entry: &PrefixEntry, at: usize) -> Option<u64> {
        match entry.names() {
            Some((names, _)) if at < shared.len(entry.node) => shared.word(names, at),
            Some(_) => None,
            None => shared.hash(entry.node, at),
        }
    }

    /// Keeps names of a run that begins at block `from` of the entry's node; false if there is no memory for them.
    pub(super) fn keep_names(
        &mut self,
        shared: &Shared,
        id: EntryId,
        from: usize,
        run: NamedRun<'_>,
    ) -> bool {
        let Some(entry) = self.entries.get(id).copied() else { return false };
        if entry.names().is_none() && !run.has_names() {
            return true;
        }
        let units = (from + run.len()).div_ceil(UNIT_WORDS);
        let at = match entry.names() {
            Some((at, before)) if before >= units => at,
            before => {
                let Some(larger) = self.tree.array(shared, units) else { return false };
                match before {
                    Some((at, before)) => {
                        shared.copy(at, 0, larger, from);
                        self.tree.give_array(at, before);
                    }
                    None => shared.copy_hashes(entry.node, larger, from),
                }
                self.entries.set_names(id, (larger, units));
                larger
            }
        };
        shared.write(at, from, run.names);
        true
    }

    /// From now on the blocks of a run that begins at block `from` of the entry's node are found by their names,
    /// which are kept.
    pub(super) fn enter_names(&mut self, id: EntryId, from: usize, run: NamedRun<'_>) {
        let Some((entry, depth)) = self.entry_and_depth(id) else { return };
        for ((hash, name), depth) in run.iter().zip(depth + from..) {
            if self.names.insert(entry.worker, name, depth, id) {
                self.doubtful.push((name, hash));
            }
        }
    }

    /// The blocks of an entry that were reported before have these names now. Without memory for them they keep those
    /// that they have.
    pub(super) fn rename(&mut self, shared: &Shared, id: EntryId, run: NamedRun<'_>) {
        let Some((entry, depth)) = self.entry_and_depth(id) else { return };
        let before = |at| self.name_of(shared, &entry, at).unwrap_or_default();
        let renamed = run.iter().enumerate().map(|(at, told)| (at, before(at), told));
        let renamed: Vec<_> = renamed.filter(|(_, before, (_, name))| before != name).collect();
        if renamed.is_empty() || !self.keep_names(shared, id, 0, run) {
            return;
        }
        for (at, before, (hash, name)) in renamed {
            self.names.remove(entry.worker, before, depth + at, id);
            if self.names.insert(entry.worker, name, depth + at, id) {
                self.doubtful.push((name, hash));
            }
        }
    }

    /// Forgets the names of an entry's blocks, all but the first `keep`.
    pub(super) fn forget_names(&mut self, shared: &Shared, id: EntryId, keep: usize) {
        let Some((entry, depth)) = self.entry_and_depth(id) else { return };
        for at in keep..shared.len(entry.node) {
            if let Some(name) = self.name_of(shared, &entry, at) {
                self.names.remove(entry.worker, name, depth + at, id);
            }
        }
        if let Some((names, before)) = entry.names() {
            let units = keep.div_ceil(UNIT_WORDS).min(before);
            self.tree.give_rest_of_array(names, units, before);
            self.entries.set_names(id, (names, units));
        }
    }

    /// Arrays for the names of the shorter part of a node that is to be cut behind `at` blocks, one for each of its
    /// entries that has names; `None` if there is no memory for all of them.
    pub(super) fn arrays_for_cut(
        &mut self,
        shared: &Shared,
        node: NodeId,
        at: usize,
    ) -> Option<Vec<WordsAt>> {
        let names = |id| self.entries.get(id).and_then(PrefixEntry::names);
        let holders = self.tree.get(node)?.holders.iter();
        let count = holders.filter(|(_, id)| names(*id).is_some()).count();
        let units = shorter_units(at, shared.len(node));
        let mut fresh = Vec::with_capacity(count);
        for _ in 0..count {
            let Some(array) = self.tree.array(shared, units) else {
                self.give_arrays(fresh, units);
                return None;
            };
            fresh.push(array);
        }
        Some(fresh)
    }

    pub(super) fn give_arrays(&mut self, arrays: Vec<WordsAt>, units: usize) {
        arrays.into_iter().for_each(|array| self.tree.give_array(array, units));
    }

    /// Gives the entry `head` the names of the first blocks of `tail`, whose node was cut. `fresh` has room for those
    /// of the shorter part.
    pub(super) fn cut_names(
        &mut self,
        shared: &Shared,
        head: EntryId,
        tail: EntryId,
        fresh: &mut Vec<WordsAt>,
    ) {
        let (Some((first, depth)), Some(rest)) =
            (self.entry_and_depth(head), self.entries.get(tail).copied())
        else {
            return;
        };
        if !rest.is(HoldingSource::Reported) {
            return;
        }
        let (at, tail_len) = (shared.len(first.node), shared.len(rest.node));
        if let (Some((names, before)), Some(fresh)) = (rest.names(), rest.names().and_then(|_| fresh.pop())) {
            let (head_units, tail_units) = (at.div_ceil(UNIT_WORDS), tail_len.div_ceil(UNIT_WORDS));
            let (to_head, to_tail) = if head_units <= tail_units {
                shared.copy(names, 0, fresh, at);
                shared.copy(names, at, names, tail_len);
                self.tree.give_rest_of_array(names, tail_units, before);
                (fresh, names)
            } else {
                shared.copy(names, at, fresh, tail_len);
                self.tree.give_rest_of_array(names, head_units, before);
                (names, fresh)
            };
            self.entries.set_names(head, (to_head, head_units));
            self.entries.set_names(tail, (to_tail, tail_units));
        }
        let Some(first) = self.entries.get(head).copied() else { return };
        for at in 0..at {
            if let Some(name) = self.name_of(shared, &first, at) {
                self.names.hand_over(first.worker, name, depth + at, (tail, head));
            }
        }
    }

    /// Who gives a name to a second block means the second one: the first one is forgotten.
    pub(super) fn settle_names(&mut self, shared: &Shared, worker: u16) {
        while let Some((name, hash)) = self.doubtful.pop() {
            let is_other = |node, at| shared.hash(node, at) != Some(hash);
            while let Some((id, at)) = self.find_named(shared, worker, name, is_other) {
                self.forget_reported(shared, id, at);
            }
        }
    }

    fn entry_and_depth(&self, id: EntryId) -> Option<(PrefixEntry, usize)> {
        let entry = self.entries.get(id).copied()?;
        Some((entry, self.tree.get(entry.node)?.depth as usize))
    }
}
