//! Where blocks are that workers reported, by hash. What was only sent needs no such table: it is forgotten
//! by node.

use crate::prefix_index::block_table::{BlockTable, NodeId};
use crate::prefix_index::tree::Shared;

/// The blocks of all nodes that some worker reported once.
#[derive(Debug, Default)]
pub(super) struct BlockPlaces {
    /// Made when the first block is reported.
    table: Option<BlockTable>,
    count: usize,
    /// Nodes whose blocks are in the table, a bit each.
    nodes: Vec<u64>,
}

impl BlockPlaces {
    /// The node that has the block, and at which place.
    pub(super) fn find(&self, shared: &Shared, hash: u64) -> Option<(NodeId, usize)> {
        let mut place = None;
        let node = self.table.as_ref()?.find(hash, |node| {
            place = shared.hashes(node).position(|own| own == hash);
            place.is_some()
        })?;
        Some((node, place?))
    }

    /// From now on the node's blocks are here.
    pub(super) fn begin(&mut self, shared: &Shared, node: NodeId) {
        if !self.has(node) {
            self.set(node, true);
            self.add(shared, node, 0);
        }
    }

    /// The node has blocks more, from `from` on.
    pub(super) fn add(&mut self, shared: &Shared, node: NodeId, from: usize) {
        if self.has(node) {
            shared.hashes(node).skip(from).for_each(|hash| self.insert(hash, node));
        }
    }

    /// The node is about to lose its blocks from `from` on.
    pub(super) fn forget_from(&mut self, shared: &Shared, node: NodeId, from: usize) {
        if self.has(node) {
            shared.hashes(node).skip(from).for_each(|hash| self.take_out(hash, node));
        }
    }

    /// The node is about to go.
    pub(super) fn end(&mut self, shared: &Shared, node: NodeId) {
        self.forget_from(shared, node, 0);
        self.set(node, false);
    }

    /// The first blocks of `node` are those of `head` now.
    pub(super) fn cut(&mut self, shared: &Shared, node: NodeId, head: NodeId) {
        if self.has(node) {
            shared.hashes(head).for_each(|hash| self.take_out(hash, node));
            self.begin(shared, head);
        }
    }

    /// Bytes that it takes.
    pub(super) fn bytes(&self) -> usize {
        self.table.as_ref().map_or(0, BlockTable::bytes) + self.nodes.capacity() * size_of::<u64>()
    }

    /// Bytes more that it takes to have so many blocks more.
    pub(super) fn growth(&self, blocks: usize) -> usize {
        let slots = self.table.as_ref().filter(|table| !table.is_full_with(self.count + blocks));
        if slots.is_some() { 0 } else { BlockTable::bytes_for(self.count + blocks) }
    }

    fn insert(&mut self, hash: u64, node: NodeId) {
        let table = self.table.get_or_insert_with(|| BlockTable::for_count(0));
        if table.is_full_with(self.count) {
            *table = table.grown();
        }
        table.insert(hash, node);
        self.count += 1;
    }

    fn take_out(&mut self, hash: u64, node: NodeId) {
        if let Some(table) = &self.table {
            table.remove(hash, node);
            self.count = self.count.saturating_sub(1);
        }
    }

    fn has(&self, node: NodeId) -> bool {
        self.nodes.get(node as usize / 64).is_some_and(|bits| bits & 1 << (node % 64) != 0)
    }

    fn set(&mut self, node: NodeId, has: bool) {
        let (word, bit) = (node as usize / 64, 1 << (node % 64));
        if has && word >= self.nodes.len() {
            self.nodes.resize(word + 1, 0);
        }
        if let Some(bits) = self.nodes.get_mut(word) {
            *bits = if has { *bits | bit } else { *bits & !bit };
        }
    }
}
