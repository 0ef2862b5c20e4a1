//! What each worker holds, in the order of use.

use crate::prefix_index::block_table::NodeId;
use crate::prefix_index::words::WordsAt;

/// The number of an entry.
pub(super) type EntryId = u32;

/// No entry.
pub(super) const NO_ENTRY: EntryId = u32::MAX;

/// How it is known that a worker holds a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HoldingSource {
    /// It was sent there.
    Sent = 1,
    /// The worker says so.
    Reported = 2,
}

/// The [`HoldingSource`]s of an entry.
const SOURCES: u8 = HoldingSource::Sent as u8 | HoldingSource::Reported as u8;

/// Beside them: it was sent since the worker's replay began.
const SENT_MEANWHILE: u8 = 4;

/// That a worker holds a node.
#[derive(Clone, Copy, Debug)]
pub(super) struct PrefixEntry {
    pub(super) node: NodeId,
    pub(super) worker: u16,
    /// The [`HoldingSource`]s, a bit each, and [`SENT_MEANWHILE`].
    sources: u8,
    /// Units of the array with the names of reported blocks; 0 if their hashes are their names.
    name_units: u8,
    names: WordsAt,
    newer: EntryId,
    older: EntryId,
}

impl PrefixEntry {
    /// The array with the names of all blocks of the node, and its units.
    pub(super) fn names(&self) -> Option<(WordsAt, usize)> {
        (self.name_units > 0).then_some((self.names, usize::from(self.name_units)))
    }

    pub(super) fn is(&self, source: HoldingSource) -> bool {
        self.sources & source as u8 != 0
    }

    /// True if it is known by this source only.
    pub(super) fn is_only(&self, source: HoldingSource) -> bool {
        self.sources & SOURCES == source as u8
    }

    /// True if it was sent since the worker's replay began.
    pub(super) fn is_sent_meanwhile(&self) -> bool {
        self.is(HoldingSource::Sent) && self.sources & SENT_MEANWHILE != 0
    }
}

/// The entries of one worker from one source, the newest first.
#[derive(Clone, Copy, Debug)]
pub(super) struct UseOrder {
    newest: EntryId,
    oldest: EntryId,
}

impl Default for UseOrder {
    fn default() -> Self {
        Self { newest: NO_ENTRY, oldest: NO_ENTRY }
    }
}

impl UseOrder {
    /// The entry that was used longest ago.
    pub(super) fn oldest(self) -> Option<EntryId> {
        (self.oldest != NO_ENTRY).then_some(self.oldest)
    }
}

/// All entries, by number.
#[derive(Debug, Default)]
pub(super) struct Entries {
    all: Vec<PrefixEntry>,
    free: Vec<EntryId>,
}

impl Entries {
    /// The entry of that number.
    pub(super) fn get(&self, id: EntryId) -> Option<&PrefixEntry> {
        self.all.get(id as usize)
    }

    /// An entry that is in no order yet.
    pub(super) fn add(&mut self, node: NodeId, worker: u16) -> EntryId {
        let entry = PrefixEntry {
            node,
            worker,
            sources: 0,
            name_units: 0,
            names: 0,
            newer: NO_ENTRY,
            older: NO_ENTRY,
        };
        if let Some(id) = self.free.pop() {
            self.change(id, |own| *own = entry);
            return id;
        }
        if self.all.len() == self.all.capacity() {
            // Not twice as many: memory is bounded, and what is not used counts.
            self.all.reserve_exact(1024 + self.all.len() / 8);
        }
        self.all.push(entry);
        u32::try_from(self.all.len() - 1).unwrap_or(NO_ENTRY)
    }

    /// Gives back an entry that is in no order.
    pub(super) fn free(&mut self, id: EntryId) {
        self.free.push(id);
    }

    /// Notes one source more.
    pub(super) fn mark(&mut self, id: EntryId, source: HoldingSource) {
        self.change(id, |entry| entry.sources |= source as u8);
    }

    /// Notes whether it was sent since the worker's replay began.
    pub(super) fn set_sent_meanwhile(&mut self, id: EntryId, is_so: bool) {
        let bit = if is_so { SENT_MEANWHILE } else { 0 };
        self.change(id, |entry| entry.sources = entry.sources & SOURCES | bit);
    }

    /// Takes a source away.
    pub(super) fn unmark(&mut self, id: EntryId, source: HoldingSource) {
        self.change(id, |entry| entry.sources &= !(source as u8));
    }

    /// Sets the array with names, and its units: 0 for none.
    pub(super) fn set_names(&mut self, id: EntryId, (names, units): (WordsAt, usize)) {
        // No array has more than 64.
        let name_units = u8::try_from(units).unwrap_or_default();
        self.change(id, |entry| (entry.names, entry.name_units) = (names, name_units));
    }

    /// Gives `id` the sources of `like`.
    pub(super) fn mark_like(&mut self, id: EntryId, like: EntryId) {
        let sources = self.get(like).map_or(0, |entry| entry.sources);
        self.change(id, |entry| entry.sources = sources);
    }

    /// Puts an entry that is in no order at the front.
    pub(super) fn push(&mut self, order: &mut UseOrder, id: EntryId) {
        let next = order.newest;
        self.change(id, |entry| (entry.newer, entry.older) = (NO_ENTRY, next));
        self.change(next, |entry| entry.newer = id);
        order.newest = id;
        if order.oldest == NO_ENTRY {
            order.oldest = id;
        }
    }

    /// Puts an entry that is in no order right before another one, as used a little later.
    pub(super) fn push_before(&mut self, order: &mut UseOrder, id: EntryId, older: EntryId) {
        let newer = self.get(older).map_or(NO_ENTRY, |entry| entry.newer);
        self.change(id, |entry| (entry.newer, entry.older) = (newer, older));
        self.change(older, |entry| entry.newer = id);
        self.change(newer, |entry| entry.older = id);
        if order.newest == older {
            order.newest = id;
        }
    }

    /// Takes an entry out of its order.
    pub(super) fn take_out(&mut self, order: &mut UseOrder, id: EntryId) {
        let Some(&PrefixEntry { newer, older, .. }) = self.get(id) else { return };
        self.change(newer, |entry| entry.older = older);
        self.change(older, |entry| entry.newer = newer);
        if order.newest == id {
            order.newest = older;
        }
        if order.oldest == id {
            order.oldest = newer;
        }
    }

    /// The entries of an order, the newest first.
    pub(super) fn iter(&self, order: UseOrder) -> impl Iterator<Item = EntryId> {
        let exists = |id: EntryId| (id != NO_ENTRY).then_some(id);
        let older = move |id: &EntryId| self.get(*id).and_then(|entry| exists(entry.older));
        std::iter::successors(exists(order.newest), older)
    }

    /// Bytes that all of them take.
    pub(super) fn bytes(&self) -> usize {
        self.all.capacity() * size_of::<PrefixEntry>() + self.free.capacity() * size_of::<EntryId>()
    }

    fn change(&mut self, id: EntryId, change: impl FnOnce(&mut PrefixEntry)) {
        if let Some(entry) = self.all.get_mut(id as usize) {
            change(entry);
        }
    }
}
