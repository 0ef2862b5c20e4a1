//! What readers walk, and the writer changes beside them.

use std::sync::atomic::{AtomicUsize, Ordering};

use arc_swap::ArcSwap;

use crate::prefix_index::block_table::{BlockTable, NodeId};
use crate::prefix_index::node::{Node, Nodes, matching};
use crate::prefix_index::words::{WordChunks, WordsAt};

/// What readers and the writer share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) nodes: Nodes,
    pub(super) words: WordChunks,
    /// First blocks of nodes.
    pub(super) heads: ArcSwap<BlockTable>,
    /// Bytes that those who feed the index keep for it, beside it.
    pub(super) kept_beside: AtomicUsize,
}

impl Shared {
    pub(super) fn new(max_bytes: usize) -> Self {
        Self {
            nodes: Nodes::new(max_bytes),
            words: WordChunks::new(max_bytes),
            heads: ArcSwap::from_pointee(BlockTable::for_count(0)),
            kept_beside: AtomicUsize::new(0),
        }
    }

    /// The hashes of a node's blocks, for the writer.
    pub(super) fn hashes(&self, id: NodeId) -> impl Iterator<Item = u64> {
        let view = self.nodes.get(id).map(Node::own_view);
        let hashes = view.map_or(&[][..], |view| self.words.slice(view.hashes, view.len));
        hashes.iter().map(|hash| hash.load(Ordering::Relaxed))
    }

    /// The hash of one block of a node, for the writer.
    pub(super) fn hash(&self, id: NodeId, at: usize) -> Option<u64> {
        let view = self.nodes.get(id)?.own_view();
        let hash = self.words.slice(view.hashes, view.len).get(at)?;
        Some(hash.load(Ordering::Relaxed))
    }

    /// Blocks of a node, for the writer.
    pub(super) fn len(&self, id: NodeId) -> usize {
        self.nodes.get(id).map_or(0, |node| node.own_view().len)
    }

    /// How many of a chain's first blocks a node has that has the first one, for the writer.
    pub(super) fn matching(&self, id: NodeId, chain: &[u64]) -> usize {
        self.nodes.get(id).map_or(0, |node| matching(&self.words, &node.own_view(), chain))
    }

    /// One word of an array, for the writer.
    pub(super) fn word(&self, array: WordsAt, at: usize) -> Option<u64> {
        self.words.slice(array, at + 1).last().map(|word| word.load(Ordering::Relaxed))
    }

    /// Copies the first hashes of a node into an array.
    pub(super) fn copy_hashes(&self, from: NodeId, to: WordsAt, len: usize) {
        if let Some(node) = self.nodes.get(from) {
            self.copy(node.own_view().hashes, 0, to, len);
        }
    }

    /// Copies words of an array to the beginning of another one, or of itself.
    pub(super) fn copy(&self, from: WordsAt, skip: usize, to: WordsAt, len: usize) {
        let (from, to) = (self.words.slice(from, skip + len), self.words.slice(to, len));
        for (from, to) in from.iter().skip(skip).zip(to) {
            to.store(from.load(Ordering::Relaxed), Ordering::Relaxed);
        }
    }

    pub(super) fn write(&self, at: WordsAt, skip: usize, hashes: &[u64]) {
        let to = self.words.slice(at, skip + hashes.len());
        for (to, hash) in to.iter().skip(skip).zip(hashes) {
            to.store(*hash, Ordering::Relaxed);
        }
    }
}
