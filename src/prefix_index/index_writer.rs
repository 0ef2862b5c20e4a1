//! Who holds what, and what is forgotten first.

use std::sync::atomic::Ordering;

use crate::prefix_index::block_table::{NO_NODE, NodeId};
use crate::prefix_index::cache_size::CacheSize;
use crate::prefix_index::entries::{Entries, EntryId, HoldingSource, PrefixEntry, UseOrder};
use crate::prefix_index::named_run::NamedRun;
use crate::prefix_index::node::MAX_BLOCKS;
use crate::prefix_index::reported_names::ReportedNames;
use crate::prefix_index::shared::Shared;
use crate::prefix_index::tree::Tree;
use crate::prefix_index::words::{UNIT_WORDS, shorter_units};

/// What is known of one worker.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct HeldBlocks {
    /// Which owner of the slot it is; 0 = none.
    pub(super) generation: u32,
    /// What it can hold.
    pub(super) size: CacheSize,
    /// What was sent there.
    pub(super) sent: UseOrder,
    pub(super) sent_blocks: usize,
    /// What it reports, and was not sent there.
    pub(super) reported: UseOrder,
    pub(super) reported_blocks: usize,
    /// Whether what it reports is of a while ago.
    pub(super) is_replaying: bool,
}

/// What only the writer needs. Everything that readers see is in [`Shared`].
///
/// A worker that holds a node holds all nodes before it, from the same source: so the oldest entry of a
/// worker is always one that nothing of it follows.
#[derive(Debug)]
pub(super) struct IndexWriter {
    pub(super) tree: Tree,
    pub(super) entries: Entries,
    pub(super) workers: Vec<HeldBlocks>,
    pub(super) names: ReportedNames,
    /// Blocks of the run in hand whose names others may have, too: name and hash.
    pub(super) doubtful: Vec<(u64, u64)>,
    /// The nodes of the chain in hand.
    path: Vec<NodeId>,
    /// Blocks that were forgotten because a worker can hold no more, or the index.
    pub(super) evicted: u64,
    /// Blocks that had no place.
    pub(super) refused: u64,
}

impl IndexWriter {
    pub(super) fn new(max_bytes: usize) -> Self {
        Self {
            // The rest is for what grows by little and is counted late.
            tree: Tree::new(max_bytes / 16 * 15),
            entries: Entries::default(),
            workers: Vec::new(),
            names: ReportedNames::default(),
            doubtful: Vec::new(),
            path: Vec::new(),
            evicted: 0,
            refused: 0,
        }
    }

    /// The worker's blocks.
    pub(super) fn held(&mut self, worker: u16) -> &mut HeldBlocks {
        let at = usize::from(worker);
        if at >= self.workers.len() {
            self.workers.resize_with(at + 1, HeldBlocks::default);
        }
        #[expect(clippy::indexing_slicing, reason = "made above")]
        &mut self.workers[at]
    }

    /// Notes that a request with this chain was sent to a worker. A block has `block_tokens`, if that is known.
    pub(super) fn sent(&mut self, shared: &Shared, worker: u16, chain: &[u64], block_tokens: Option<f32>) {
        let size = &mut self.held(worker).size;
        block_tokens.into_iter().for_each(|tokens| size.sent(chain.len(), tokens));
        let capacity = size.blocks();
        let chain = chain.get(..capacity).unwrap_or(chain);
        let run = NamedRun::unnamed(chain);
        self.make_room(shared, worker, run, HoldingSource::Sent);
        self.hold(shared, worker, NO_NODE, run, HoldingSource::Sent);
        // The deepest first, so that it is forgotten first.
        let path = std::mem::take(&mut self.path);
        for node in path.iter().rev() {
            let Some(entry) = self.entry(*node, worker) else { continue };
            let Self { entries, workers, .. } = self;
            let Some(held) = workers.get_mut(usize::from(worker)) else { continue };
            entries.take_out(&mut held.sent, entry);
            entries.push(&mut held.sent, entry);
            if held.is_replaying {
                entries.set_sent_meanwhile(entry, true);
            }
        }
        self.path = path;
        self.shrink_to(shared, worker, capacity);
    }

    /// Notes that a worker reports blocks that follow one that it reported before by the name `after`, or the first
    /// blocks of a chain; says how many of the first ones it had reported already. `None` if it never reported that
    /// block.
    pub(super) fn stored(
        &mut self,
        shared: &Shared,
        worker: u16,
        after: Option<u64>,
        run: NamedRun<'_>,
    ) -> Option<usize> {
        self.make_room(shared, worker, run, HoldingSource::Reported);
        if self.lacks_names(shared, worker, run.len()) {
            self.refused += run.len() as u64;
            return Some(0);
        }
        let parent = match after {
            None => NO_NODE,
            Some(name) => {
                let (id, at) = self.find_reported(shared, worker, name)?;
                let node = self.entries.get(id)?.node;
                if at + 1 == shared.len(node) { node } else { self.cut(shared, node, at + 1)? }
            }
        };
        self.names.reserve(worker, run.len());
        let known = self.hold(shared, worker, parent, run, HoldingSource::Reported);
        self.settle_names(shared, worker);
        Some(known)
    }

    /// Gives a worker all blocks of a chain that begins after a node; says how many of the first ones it held
    /// already from that source.
    fn hold(
        &mut self,
        shared: &Shared,
        worker: u16,
        after: NodeId,
        run: NamedRun<'_>,
        source: HoldingSource,
    ) -> usize {
        self.path.clear();
        let mut parent = after;
        let mut rest = run;
        let mut known = 0;
        while let Some(id) = rest.hashes.first().and_then(|first| self.tree.find(shared, *first)) {
            let (matched, len) = (shared.matching(id, rest.hashes), shared.len(id));
            let entry = self.entry(id, worker).and_then(|entry| self.entries.get(entry));
            known += if entry.is_some_and(|entry| entry.is(source)) { matched } else { 0 };
            let node = if matched < len { self.cut(shared, id, matched) } else { Some(id) };
            let own = rest.to(matched);
            let Some(node) = node.filter(|node| self.enter(shared, *node, worker, own, source)) else {
                self.refused += rest.len() as u64;
                return known;
            };
            self.path.push(node);
            parent = node;
            rest = rest.from(matched);
        }
        while !rest.is_empty() {
            let added = match self.extend(shared, parent, worker, rest, source) {
                0 => self.add(shared, &mut parent, worker, rest, source),
                added => added,
            };
            if added == 0 {
                self.refused += rest.len() as u64;
                return known;
            }
            rest = rest.from(added);
        }
        known
    }

    /// Makes a node for the first blocks of `rest`, and says how many.
    fn add(
        &mut self,
        shared: &Shared,
        parent: &mut NodeId,
        worker: u16,
        rest: NamedRun<'_>,
        source: HoldingSource,
    ) -> usize {
        let depth = self.tree.get(*parent).map_or(0, |own| own.depth as usize + shared.len(*parent));
        let mut most = rest.len();
        loop {
            let Some(id) = self.tree.add(shared, *parent, depth, rest.to(most).hashes) else { return 0 };
            let len = shared.len(id);
            if self.enter(shared, id, worker, rest.to(len), source) {
                self.path.push(id);
                *parent = id;
                return len;
            }
            self.tree.remove(shared, id);
            // Names of short nodes find place where those of long ones do not.
            if len <= UNIT_WORDS {
                return 0;
            }
            most = len / 2;
        }
    }

    /// Adds blocks to a node that only this worker holds and nothing follows, and says how many.
    fn extend(
        &mut self,
        shared: &Shared,
        node: NodeId,
        worker: u16,
        rest: NamedRun<'_>,
        source: HoldingSource,
    ) -> usize {
        let Some(id) = self.private_entry(node, worker, source) else { return 0 };
        let before = shared.len(node);
        let more = rest.to(MAX_BLOCKS.saturating_sub(before));
        let is_reported = source == HoldingSource::Reported;
        if is_reported && !self.keep_names(shared, id, before, more) {
            return 0;
        }
        let added = self.tree.extend(shared, node, more.hashes);
        if is_reported {
            self.enter_names(id, before, more.to(added));
        }
        self.count(worker, source, added, true);
        added
    }

    /// The entry of a node that only this worker holds, from this source, and that nothing follows.
    fn private_entry(&self, node: NodeId, worker: u16, source: HoldingSource) -> Option<EntryId> {
        let own = self.tree.get(node).filter(|own| own.children == 0)?;
        let id = own.holders.only()?;
        self.entries.get(id).filter(|entry| entry.worker == worker && entry.is_only(source)).map(|_| id)
    }

    /// Makes a worker a holder of a node, whose blocks are `run`; false if there is no memory for it.
    fn enter(
        &mut self,
        shared: &Shared,
        node: NodeId,
        worker: u16,
        run: NamedRun<'_>,
        source: HoldingSource,
    ) -> bool {
        let known = self.entry(node, worker);
        let Some(id) = known.or_else(|| self.begin(shared, node, worker)) else { return false };
        let Some(entry) = self.entries.get(id).copied() else { return false };
        let is_reported = source == HoldingSource::Reported;
        if entry.is(source) {
            if is_reported {
                self.rename(shared, id, run);
            }
            return true;
        }
        if is_reported && !self.keep_names(shared, id, 0, run) {
            if known.is_none() {
                self.end(shared, id);
            }
            return false;
        }
        self.held(worker);
        let Self { entries, workers, .. } = self;
        let Some(held) = workers.get_mut(usize::from(worker)) else { return false };
        match source {
            HoldingSource::Sent => {
                if entry.is(HoldingSource::Reported) {
                    entries.take_out(&mut held.reported, id);
                }
                entries.push(&mut held.sent, id);
            }
            HoldingSource::Reported if !entry.is(HoldingSource::Sent) => entries.push(&mut held.reported, id),
            HoldingSource::Reported => {}
        }
        entries.mark(id, source);
        self.count(worker, source, run.len(), true);
        if is_reported {
            self.enter_names(id, 0, run);
        }
        true
    }

    /// An entry of which no source is known yet; `None` if there is no memory for it.
    fn begin(&mut self, shared: &Shared, node: NodeId, worker: u16) -> Option<EntryId> {
        if !self.tree.add_worker(shared, node, worker) {
            return None;
        }
        let id = self.entries.add(node, worker);
        self.tree.change_holders(node, |holders| holders.add(worker, id));
        Some(id)
    }

    /// Gives back an entry that is in no order.
    fn end(&mut self, shared: &Shared, id: EntryId) {
        let Some(PrefixEntry { node, worker, .. }) = self.entries.get(id).copied() else { return };
        self.entries.free(id);
        self.tree.change_holders(node, |holders| holders.remove(worker));
        if !self.tree.get(node).is_some_and(|own| own.holders.is_empty()) {
            self.tree.drop_worker(shared, node, worker);
        }
    }

    /// Makes a worker hold a node no longer from a source.
    pub(super) fn leave(&mut self, shared: &Shared, id: EntryId, source: HoldingSource) {
        let Some(entry) = self.entries.get(id).copied().filter(|entry| entry.is(source)) else { return };
        self.count(entry.worker, source, shared.len(entry.node), false);
        if source == HoldingSource::Reported {
            self.forget_names(shared, id, 0);
        }
        let Self { entries, workers, .. } = self;
        let Some(held) = workers.get_mut(usize::from(entry.worker)) else { return };
        entries.unmark(id, source);
        let order = if entry.is(HoldingSource::Sent) { &mut held.sent } else { &mut held.reported };
        if !entry.is_only(source) {
            if source == HoldingSource::Sent {
                entries.take_out(order, id);
                entries.push(&mut held.reported, id);
            }
            return;
        }
        entries.take_out(order, id);
        self.end(shared, id);
        if self.tree.get(entry.node).is_some_and(|own| own.holders.is_empty()) {
            self.tree.remove(shared, entry.node);
        }
    }

    /// Cuts a node in two, with all its entries. The second part keeps the number.
    pub(super) fn cut(&mut self, shared: &Shared, node: NodeId, at: usize) -> Option<NodeId> {
        let units = shorter_units(at, shared.len(node));
        let mut fresh = self.arrays_for_cut(shared, node, at)?;
        let Some(head) = self.tree.cut(shared, node, at) else {
            self.give_arrays(fresh, units);
            return None;
        };
        let holders: Vec<(u16, EntryId)> = self.tree.get(node)?.holders.iter().collect();
        for (worker, tail) in holders {
            let id = self.entries.add(head, worker);
            self.entries.mark_like(id, tail);
            let is_sent = self.entries.get(tail).is_some_and(|entry| entry.is(HoldingSource::Sent));
            let Self { entries, workers, .. } = self;
            if let Some(held) = workers.get_mut(usize::from(worker)) {
                let order = if is_sent { &mut held.sent } else { &mut held.reported };
                entries.push_before(order, id, tail);
            }
            self.tree.change_holders(head, |holders| holders.add(worker, id));
            self.cut_names(shared, id, tail, &mut fresh);
        }
        Some(head)
    }

    /// Takes blocks from the end of a node that only this worker holds.
    pub(super) fn shorten(
        &mut self,
        shared: &Shared,
        node: NodeId,
        worker: u16,
        source: HoldingSource,
        keep: usize,
    ) -> bool {
        let Some(id) = self.private_entry(node, worker, source) else { return false };
        let gone = shared.len(node) - keep;
        if source == HoldingSource::Reported {
            self.forget_names(shared, id, keep);
        }
        self.tree.truncate(shared, node, keep);
        self.count(worker, source, gone, false);
        true
    }

    /// Bytes that all of it takes from the allocator.
    pub(super) fn bytes(&mut self, shared: &Shared) -> usize {
        let workers = self.workers.capacity() * size_of::<HeldBlocks>();
        // Relaxed: a bound, and a gauge.
        let beside = shared.kept_beside.load(Ordering::Relaxed);
        self.tree.other_bytes =
            self.entries.bytes() + self.names.bytes() + self.names.spare_bytes() + workers + beside;
        self.tree.bytes(shared)
    }

    fn count(&mut self, worker: u16, source: HoldingSource, blocks: usize, more: bool) {
        let held = self.held(worker);
        let count = match source {
            HoldingSource::Sent => &mut held.sent_blocks,
            HoldingSource::Reported => &mut held.reported_blocks,
        };
        *count = if more { *count + blocks } else { count.saturating_sub(blocks) };
    }

    pub(super) fn entry(&self, node: NodeId, worker: u16) -> Option<EntryId> {
        self.tree.get(node).and_then(|own| own.holders.get(worker))
    }
}
