//! The nodes as the writer sees them: how they are made, cut and given back.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::prefix_index::block_table::{NO_NODE, NodeId};
use crate::prefix_index::holders::Holders;
use crate::prefix_index::node::{INLINE_WORDS, MAX_BLOCKS, Node, NodeView, Nodes, SetView};
use crate::prefix_index::shared::Shared;
use crate::prefix_index::words::{CHUNK_BYTES, FreeWords, UNIT_WORDS, WordsAt};

/// What only the writer knows of a node.
#[derive(Debug)]
pub(super) struct OwnNode {
    /// The node before it.
    pub(super) parent: NodeId,
    /// Nodes that follow it.
    pub(super) children: u32,
    /// Blocks before it.
    pub(super) depth: u32,
    /// Units of its arrays.
    units: u8,
    set_units: u8,
    pub(super) holders: Holders,
}

/// The nodes.
#[derive(Debug, Default)]
pub(super) struct Tree {
    own: Vec<OwnNode>,
    free: Vec<NodeId>,
    words: FreeWords,
    /// Nodes that are in use.
    pub(super) count: usize,
    /// Bytes of all holders outside of their nodes.
    holder_bytes: usize,
    /// Bytes that it may take at most.
    pub(super) max_bytes: usize,
    /// Bytes of all else.
    pub(super) other_bytes: usize,
}

impl Tree {
    pub(super) fn new(max_bytes: usize) -> Self {
        Self { max_bytes, ..Self::default() }
    }

    pub(super) fn get(&self, id: NodeId) -> Option<&OwnNode> {
        self.own.get(id as usize)
    }

    /// The node that begins with this block.
    pub(super) fn find(&self, shared: &Shared, first: u64) -> Option<NodeId> {
        let is_it = |id| {
            let node = shared.nodes.get(id);
            node.is_some_and(|node| node.first() == first && node.own_view().len > 0)
        };
        shared.heads.load().find(first, is_it)
    }

    /// Bytes that are taken from the allocator.
    pub(super) fn bytes(&self, shared: &Shared) -> usize {
        let own = self.own.capacity() * size_of::<OwnNode>() + self.free.capacity() * size_of::<NodeId>();
        let nodes = Nodes::bytes_below(u32::try_from(self.own.len()).unwrap_or(NO_NODE));
        let heads = shared.heads.load().bytes();
        own + nodes + heads + self.words.bytes() + self.holder_bytes + self.other_bytes
    }

    /// Bytes of them that are not in use now.
    pub(super) fn free_bytes(&self) -> usize {
        let unused = self.own.capacity() - self.own.len() + self.free.len();
        self.words.free_bytes() + unused * (size_of::<Node>() + size_of::<OwnNode>())
    }

    /// True if there may be no room for so many blocks more, whatever their nodes, with so many numbers for each:
    /// its hash, and perhaps a name.
    pub(super) fn lacks(&mut self, shared: &Shared, blocks: usize, numbers: usize) -> bool {
        let need = blocks * 2 * numbers * size_of::<u64>() + 2 * CHUNK_BYTES;
        let bytes = self.bytes(shared);
        if bytes + need <= self.max_bytes {
            return false;
        }
        // What is free must do. At worst there are no places but for the shortest nodes.
        let units = blocks.div_ceil(UNIT_WORDS);
        let nodes = self.own.capacity() - self.own.len() + self.free.len();
        let free_units = self.words.free_bytes() / (UNIT_WORDS * size_of::<u64>());
        nodes < units + 16
            || free_units < units * 2 * numbers + 128
            || shared.heads.load().is_full_with(self.count + units + 16)
            || bytes - self.free_bytes() > self.max_bytes / 8 * 7
            // To cut a node takes an array for one half of it; to name its blocks, one for all.
            || !self.words.has(MAX_BLOCKS / UNIT_WORDS / if numbers > 1 { 1 } else { 2 })
    }

    fn may_take(&self, shared: &Shared, bytes: usize) -> bool {
        self.bytes(shared) + bytes <= self.max_bytes
    }

    pub(super) fn array(&mut self, shared: &Shared, units: usize) -> Option<WordsAt> {
        let may_grow = self.may_take(shared, CHUNK_BYTES);
        self.words.take(&shared.words, units, may_grow)
    }

    /// Makes a node with the first of `hashes`, as many as there is room for. Nobody holds it yet.
    pub(super) fn add(
        &mut self,
        shared: &Shared,
        parent: NodeId,
        depth: usize,
        hashes: &[u64],
    ) -> Option<NodeId> {
        let mut len = hashes.len().min(MAX_BLOCKS);
        let at = loop {
            match self.array(shared, len.div_ceil(UNIT_WORDS)) {
                Some(at) => break at,
                // Short nodes find place where long ones do not.
                None if len > UNIT_WORDS => len /= 2,
                None => return None,
            }
        };
        let hashes = hashes.get(..len)?;
        shared.write(at, 0, hashes);
        let units = len.div_ceil(UNIT_WORDS);
        let Some(id) = self.link(shared, (parent, depth), (at, units), hashes) else {
            self.words.give(at, units);
            return None;
        };
        if let Some(parent) = self.own.get_mut(parent as usize) {
            parent.children += 1;
        }
        Some(id)
    }

    /// Makes a node that has its array.
    fn link(
        &mut self,
        shared: &Shared,
        (parent, depth): (NodeId, usize),
        (at, units): (WordsAt, usize),
        hashes: &[u64],
    ) -> Option<NodeId> {
        let (first, last) = (*hashes.first()?, *hashes.last()?);
        self.make_room_in_heads(shared)?;
        let id = self.number(shared)?;
        let own = self.own.get_mut(id as usize)?;
        *own = OwnNode {
            parent,
            children: 0,
            depth: u32::try_from(depth).ok()?,
            units: u8::try_from(units).ok()?,
            set_units: 0,
            holders: Holders::Nobody,
        };
        shared.nodes.get(id)?.change(|node| node.set_run(at, hashes.len(), first, last));
        shared.heads.load().insert(first, id);
        self.count += 1;
        Some(id)
    }

    /// Makes the table of first blocks larger if it must be; `None` if it must be and may not.
    fn make_room_in_heads(&self, shared: &Shared) -> Option<()> {
        let heads = shared.heads.load();
        // A node that is cut is there twice for a moment.
        if heads.is_full_with(self.count + 2) {
            // Readers keep the one before until they are done with it.
            if !self.may_take(shared, heads.bytes() * 2) {
                return None;
            }
            shared.heads.store(Arc::new(heads.grown()));
        }
        Some(())
    }

    /// A free number, with its node.
    fn number(&mut self, shared: &Shared) -> Option<NodeId> {
        if let Some(id) = self.free.pop() {
            return Some(id);
        }
        if self.own.len() == self.own.capacity() {
            let more = 1024 + self.own.len() / 8;
            if !self.may_take(shared, more * (size_of::<Node>() + size_of::<OwnNode>())) {
                return None;
            }
            self.own.reserve_exact(more);
        }
        let id = u32::try_from(self.own.len()).ok()?;
        shared.nodes.make(id)?;
        let holders = Holders::Nobody;
        self.own.push(OwnNode { parent: NO_NODE, children: 0, depth: 0, units: 0, set_units: 0, holders });
        Some(id)
    }

    /// Adds the first of `more` to a node's end, as many as there is room for, and says how many.
    pub(super) fn extend(&mut self, shared: &Shared, id: NodeId, more: &[u64]) -> usize {
        let Some((node, view)) = self.view(shared, id) else { return 0 };
        let more = more.get(..more.len().min(MAX_BLOCKS.saturating_sub(view.len))).unwrap_or_default();
        let Some(last) = more.last() else { return 0 };
        let units = (view.len + more.len()).div_ceil(UNIT_WORDS);
        let before = self.get(id).map_or(0, |own| usize::from(own.units));
        let mut at = view.hashes;
        if units > before {
            let Some(larger) = self.array(shared, units) else { return 0 };
            shared.copy(view.hashes, 0, larger, view.len);
            at = larger;
        }
        shared.write(at, view.len, more);
        node.change(|node| node.set_run(at, view.len + more.len(), node.first(), *last));
        if at != view.hashes {
            self.words.give(view.hashes, before);
            self.set_units(id, units);
        }
        more.len()
    }

    /// Forgets all blocks of a node but the first `keep`, one at least.
    pub(super) fn truncate(&mut self, shared: &Shared, id: NodeId, keep: usize) {
        let Some((node, view)) = self.view(shared, id) else { return };
        let Some(last) = shared.words.slice(view.hashes, keep).last() else { return };
        let last = last.load(Ordering::Relaxed);
        node.change(|node| node.set_run(view.hashes, keep, node.first(), last));
        let before = self.get(id).map_or(0, |own| usize::from(own.units));
        let units = keep.div_ceil(UNIT_WORDS);
        self.words.give_rest(view.hashes, units, before);
        self.set_units(id, units.min(before));
    }

    /// Cuts a node in two behind its first `at` blocks, and returns the number of the first part. The second
    /// part keeps the number and the nodes that follow. The set of workers is that of both; holders are the
    /// caller's affair.
    pub(super) fn cut(&mut self, shared: &Shared, id: NodeId, at: usize) -> Option<NodeId> {
        let (node, view) = self.view(shared, id)?;
        let own = self.get(id)?;
        let (parent, depth, before) = (own.parent, own.depth as usize, usize::from(own.units));
        let (head_units, tail) = (at.div_ceil(UNIT_WORDS), view.len - at);
        let tail_units = tail.div_ceil(UNIT_WORDS);
        // The shorter part moves to an array of its own.
        let fresh = self.array(shared, head_units.min(tail_units))?;
        let is_head_fresh = head_units <= tail_units;
        let (head_at, tail_at) = if is_head_fresh { (fresh, view.hashes) } else { (view.hashes, fresh) };
        let hashes: Vec<u64> = shared.hashes(id).collect();
        let (first, first_of_rest) = (*hashes.first()?, *hashes.get(at)?);
        if is_head_fresh {
            shared.write(fresh, 0, hashes.get(..at)?);
        }
        let head = self.link(shared, (parent, depth), (head_at, head_units), hashes.get(..at)?);
        let Some(head) = head.filter(|head| self.copy_set(shared, &view, id, *head).is_some()) else {
            // Not enough memory: all stays as it is.
            self.words.give(fresh, head_units.min(tail_units));
            if let Some(head) = head {
                self.unlink(shared, head, first);
            }
            return None;
        };
        let heads = shared.heads.load();
        heads.insert(first_of_rest, id);
        node.change(|node| {
            shared.write(tail_at, 0, hashes.get(at..).unwrap_or_default());
            node.set_run(tail_at, tail, first_of_rest, view.last);
        });
        heads.remove(first, id);
        self.words.give_rest(view.hashes, if is_head_fresh { tail_units } else { head_units }, before);
        self.set_units(id, tail_units);
        if let Some(own) = self.own.get_mut(id as usize) {
            own.parent = head;
            own.depth = u32::try_from(depth + at).unwrap_or(u32::MAX);
        }
        if let Some(own) = self.own.get_mut(head as usize) {
            own.children = 1;
        }
        Some(head)
    }

    /// Takes a node out of everything that names it; its arrays are not given back.
    fn unlink(&mut self, shared: &Shared, id: NodeId, first: u64) {
        shared.heads.load().remove(first, id);
        if let Some(node) = shared.nodes.get(id) {
            node.change(|node| {
                node.set_run(0, 0, 0, 0);
                node.set_workers(SetView::Inline([(0, 0); INLINE_WORDS]));
            });
        }
        self.free.push(id);
        self.count -= 1;
    }

    /// Gives back a node that nobody holds.
    pub(super) fn remove(&mut self, shared: &Shared, id: NodeId) {
        let (Some((node, view)), Some(own)) = (self.view(shared, id), self.get(id)) else { return };
        let (units, set_units, parent) = (usize::from(own.units), usize::from(own.set_units), own.parent);
        self.unlink(shared, id, node.first());
        self.words.give(view.hashes, units);
        if let SetView::Array(at, _) = view.set {
            self.words.give(at, set_units);
        }
        if let Some(parent) = self.own.get_mut(parent as usize) {
            parent.children = parent.children.saturating_sub(1);
        }
    }

    /// Changes who holds a node.
    pub(super) fn change_holders<T>(
        &mut self,
        id: NodeId,
        change: impl FnOnce(&mut Holders) -> T,
    ) -> Option<T> {
        let own = self.own.get_mut(id as usize)?;
        let before = own.holders.bytes();
        let answer = change(&mut own.holders);
        self.holder_bytes = self.holder_bytes + own.holders.bytes() - before;
        Some(answer)
    }

    fn view<'a>(&self, shared: &'a Shared, id: NodeId) -> Option<(&'a Node, NodeView)> {
        let node = shared.nodes.get(id)?;
        Some((node, node.own_view()))
    }

    /// Units of the array with the set of a node.
    pub(super) fn units_of_set(&self, id: NodeId) -> usize {
        self.get(id).map_or(0, |own| usize::from(own.set_units))
    }

    pub(super) fn set_units_of_set(&mut self, id: NodeId, units: usize) {
        if let Some(own) = self.own.get_mut(id as usize) {
            // An array is at most a quarter of what fits.
            own.set_units = u8::try_from(units).unwrap_or(u8::MAX);
        }
    }

    pub(super) fn give_array(&mut self, at: WordsAt, units: usize) {
        self.words.give(at, units);
    }

    /// Gives back what lies behind the first `units` of an array.
    pub(super) fn give_rest_of_array(&mut self, at: WordsAt, units: usize, size: usize) {
        self.words.give_rest(at, units, size);
    }

    fn set_units(&mut self, id: NodeId, units: usize) {
        if let Some(own) = self.own.get_mut(id as usize) {
            own.units = u8::try_from(units).unwrap_or(u8::MAX);
        }
    }
}
