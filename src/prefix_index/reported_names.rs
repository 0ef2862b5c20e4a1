//! Where blocks are that workers reported, by the names that they have for them. What was only sent needs no such
//! table: it is forgotten by node.

use std::hash::{BuildHasher, RandomState};

use crate::prefix_index::entries::EntryId;
use crate::prefix_index::name_table::{NameSlot, NameTable, TAG_BITS};

/// The tables of all workers.
#[derive(Debug)]
pub(super) struct ReportedNames {
    tables: Vec<NameTable>,
    /// Bytes of all tables, and the most that they had: what is given back is kept for other tables, because what
    /// nodes take once they never give back.
    bytes: usize,
    most_bytes: usize,
    /// Names come from outside: nobody shall choose them so that they have the same tags.
    seed: u64,
}

impl Default for ReportedNames {
    fn default() -> Self {
        Self { tables: Vec::new(), bytes: 0, most_bytes: 0, seed: RandomState::new().hash_one(0) }
    }
}

impl ReportedNames {
    /// The first block of that name that `is_it` accepts.
    pub(super) fn find(
        &self,
        worker: u16,
        name: u64,
        is_it: impl FnMut(NameSlot) -> bool,
    ) -> Option<NameSlot> {
        self.tables.get(usize::from(worker))?.find(self.tag(name), is_it)
    }

    /// A block has a name. True if there may be another block of that name.
    pub(super) fn insert(&mut self, worker: u16, name: u64, depth: usize, entry: EntryId) -> bool {
        let slot = NameSlot::new(self.tag(name), depth, entry);
        self.change(worker, |table| table.insert(slot))
    }

    /// It has it no longer.
    pub(super) fn remove(&mut self, worker: u16, name: u64, depth: usize, entry: EntryId) {
        let slot = NameSlot::new(self.tag(name), depth, entry);
        self.change(worker, |table| table.remove(slot));
    }

    /// It is another entry's now.
    pub(super) fn hand_over(&mut self, worker: u16, name: u64, depth: usize, entries: (EntryId, EntryId)) {
        let slot = NameSlot::new(self.tag(name), depth, entries.0);
        self.change(worker, |table| table.hand_over(slot, entries.1));
    }

    /// No block of that worker has a name any more.
    pub(super) fn clear(&mut self, worker: u16) {
        self.change(worker, |table| *table = NameTable::default());
    }

    /// Makes room for so many blocks more of a worker.
    pub(super) fn reserve(&mut self, worker: u16, blocks: usize) {
        self.change(worker, |table| table.reserve(blocks));
    }

    /// Bytes beyond the most that they had for so many blocks more of a worker.
    pub(super) fn growth(&self, worker: u16, blocks: usize) -> usize {
        let (before, after) = match self.tables.get(usize::from(worker)) {
            Some(table) => (table.bytes(), table.bytes_with(blocks)),
            None => (0, NameTable::default().bytes_with(blocks)),
        };
        (self.bytes - before + after).saturating_sub(self.most_bytes)
    }

    /// Bytes of all of it.
    pub(super) fn bytes(&self) -> usize {
        self.bytes + self.tables.capacity() * size_of::<NameTable>()
    }

    /// Bytes that are kept for tables.
    pub(super) fn spare_bytes(&self) -> usize {
        self.most_bytes - self.bytes
    }

    fn change<T>(&mut self, worker: u16, change: impl FnOnce(&mut NameTable) -> T) -> T {
        let at = usize::from(worker);
        if at >= self.tables.len() {
            self.tables.resize_with(at + 1, NameTable::default);
        }
        #[expect(clippy::indexing_slicing, reason = "made above")]
        let table = &mut self.tables[at];
        let before = table.bytes();
        let answer = change(table);
        self.bytes = self.bytes - before + table.bytes();
        self.most_bytes = self.most_bytes.max(self.bytes);
        answer
    }

    #[expect(clippy::cast_possible_truncation, reason = "a part of the bits is what is wanted")]
    fn tag(&self, name: u64) -> u32 {
        let mixed = u128::from(name ^ self.seed) * 0x9e37_79b9_7f4a_7c15;
        ((mixed >> 64) ^ mixed) as u32 >> (u32::BITS - TAG_BITS)
    }
}
