//! Who holds what, and what is forgotten first.

use std::sync::atomic::Ordering;

use crate::prefix_index::block_table::{NO_NODE, NodeId};
use crate::prefix_index::cache_size::CacheSize;
use crate::prefix_index::entries::{Entries, EntryId, HoldingSource, UseOrder};
use crate::prefix_index::places::BlockPlaces;
use crate::prefix_index::tree::{Shared, Tree};

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
    pub(super) places: BlockPlaces,
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
            places: BlockPlaces::default(),
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
        self.make_room(shared, chain.len(), HoldingSource::Sent);
        self.hold(shared, worker, NO_NODE, chain, HoldingSource::Sent);
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

    /// Notes that a worker reports blocks that follow one that it reported before, or the first blocks of a
    /// chain; says how many of the first ones it had reported already. `None` if it never reported that block.
    pub(super) fn stored(
        &mut self,
        shared: &Shared,
        worker: u16,
        after: Option<u64>,
        chain: &[u64],
    ) -> Option<usize> {
        self.make_room(shared, chain.len(), HoldingSource::Reported);
        if self.lacks_places(shared, chain.len(), self.tree.max_bytes) {
            self.refused += chain.len() as u64;
            return Some(0);
        }
        let parent = match after {
            None => NO_NODE,
            Some(hash) => {
                let (node, at) = self.places.find(shared, hash)?;
                let entry = self.entry(node, worker).and_then(|id| self.entries.get(id));
                if !entry.is_some_and(|entry| entry.is(HoldingSource::Reported)) {
                    return None;
                }
                if at + 1 == shared.len(node) { node } else { self.cut(shared, node, at + 1)? }
            }
        };
        Some(self.hold(shared, worker, parent, chain, HoldingSource::Reported))
    }

    /// Gives a worker all blocks of a chain that begins after a node; says how many of the first ones it held
    /// already from that source.
    fn hold(
        &mut self,
        shared: &Shared,
        worker: u16,
        after: NodeId,
        chain: &[u64],
        source: HoldingSource,
    ) -> usize {
        self.path.clear();
        let mut parent = after;
        let mut rest = chain;
        let mut known = 0;
        while let Some(id) = rest.first().and_then(|first| self.tree.find(shared, *first)) {
            let (matched, len) = (shared.matching(id, rest), shared.len(id));
            let entry = self.entry(id, worker).and_then(|entry| self.entries.get(entry));
            known += if entry.is_some_and(|entry| entry.is(source)) { matched } else { 0 };
            let node = if matched < len { self.cut(shared, id, matched) } else { Some(id) };
            let Some(node) = node.filter(|node| self.enter(shared, *node, worker, source)) else {
                self.refused += rest.len() as u64;
                return known;
            };
            self.path.push(node);
            parent = node;
            rest = rest.get(matched..).unwrap_or_default();
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
            rest = rest.get(added..).unwrap_or_default();
        }
        known
    }

    /// Makes a node for the first blocks of `rest`, and says how many.
    fn add(
        &mut self,
        shared: &Shared,
        parent: &mut NodeId,
        worker: u16,
        rest: &[u64],
        source: HoldingSource,
    ) -> usize {
        let depth = self.tree.get(*parent).map_or(0, |own| own.depth as usize + shared.len(*parent));
        let Some(id) = self.tree.add(shared, *parent, depth, rest) else { return 0 };
        if !self.enter(shared, id, worker, source) {
            self.tree.remove(shared, id);
            return 0;
        }
        self.path.push(id);
        *parent = id;
        shared.len(id)
    }

    /// Adds blocks to a node that only this worker holds and nothing follows, and says how many.
    fn extend(
        &mut self,
        shared: &Shared,
        node: NodeId,
        worker: u16,
        rest: &[u64],
        source: HoldingSource,
    ) -> usize {
        if !self.is_private(node, worker, source) {
            return 0;
        }
        let before = shared.len(node);
        let added = self.tree.extend(shared, node, rest);
        self.places.add(shared, node, before);
        self.count(worker, source, added, true);
        added
    }

    /// True if only this worker holds the node, from this source, and nothing follows it.
    fn is_private(&self, node: NodeId, worker: u16, source: HoldingSource) -> bool {
        let Some(own) = self.tree.get(node) else { return false };
        let entry = own.holders.only().and_then(|entry| self.entries.get(entry));
        own.children == 0 && entry.is_some_and(|entry| entry.worker == worker && entry.is_only(source))
    }

    /// Makes a worker a holder of a node; false if there is no memory for it.
    fn enter(&mut self, shared: &Shared, node: NodeId, worker: u16, source: HoldingSource) -> bool {
        let known = self.entry(node, worker);
        let id = match known {
            Some(id) => id,
            None => {
                if !self.tree.add_worker(shared, node, worker) {
                    return false;
                }
                let id = self.entries.add(node, worker);
                self.tree.change_holders(node, |holders| holders.add(worker, id));
                id
            }
        };
        let Some(entry) = self.entries.get(id).copied() else { return false };
        if entry.is(source) {
            return true;
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
        self.count(worker, source, shared.len(node), true);
        if source == HoldingSource::Reported {
            self.places.begin(shared, node);
        }
        true
    }

    /// Makes a worker hold a node no longer from a source.
    pub(super) fn leave(&mut self, shared: &Shared, id: EntryId, source: HoldingSource) {
        let Some(entry) = self.entries.get(id).copied().filter(|entry| entry.is(source)) else { return };
        self.count(entry.worker, source, shared.len(entry.node), false);
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
        entries.free(id);
        self.tree.change_holders(entry.node, |holders| holders.remove(entry.worker));
        if self.tree.get(entry.node).is_some_and(|own| own.holders.is_empty()) {
            self.places.end(shared, entry.node);
            self.tree.remove(shared, entry.node);
        } else {
            self.tree.drop_worker(shared, entry.node, entry.worker);
        }
    }

    /// Cuts a node in two, with all its entries. The second part keeps the number.
    pub(super) fn cut(&mut self, shared: &Shared, node: NodeId, at: usize) -> Option<NodeId> {
        let head = self.tree.cut(shared, node, at)?;
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
        }
        self.places.cut(shared, node, head);
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
        if !self.is_private(node, worker, source) {
            return false;
        }
        let gone = shared.len(node) - keep;
        self.places.forget_from(shared, node, keep);
        self.tree.truncate(shared, node, keep);
        self.count(worker, source, gone, false);
        true
    }

    /// Bytes that all of it takes from the allocator.
    pub(super) fn bytes(&mut self, shared: &Shared) -> usize {
        let workers = self.workers.capacity() * size_of::<HeldBlocks>();
        // Relaxed: a bound, and a gauge.
        let beside = shared.kept_beside.load(Ordering::Relaxed);
        self.tree.other_bytes = self.entries.bytes() + self.places.bytes() + workers + beside;
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
