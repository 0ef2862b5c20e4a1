//! One look for all workers: how much of a request each of them holds.

use std::sync::atomic::Ordering;

use crate::prefix_index::block_table::BlockTable;
use crate::prefix_index::node::{Node, NodeView, Nodes, SetView, matching};
use crate::prefix_index::words::WordChunks;

/// Words of a set that are read before it is known that they were valid.
const GROUP: usize = 16;
/// How often a reader begins anew with a node whose set changes under its eyes.
const ATTEMPTS: usize = 16;

/// What a walk reads.
#[derive(Clone, Copy, Debug)]
pub(super) struct Walk<'a> {
    pub(super) heads: &'a BlockTable,
    pub(super) nodes: &'a Nodes,
    pub(super) words: &'a WordChunks,
}

impl<'a> Walk<'a> {
    /// Calls `found(depth, place, bits)` for workers that hold the first `depth` blocks of `chain`: those
    /// whose bits are set in word `place` of all workers. Depths only grow, so the last call for a worker
    /// says what it holds.
    #[inline]
    pub(super) fn run(self, chain: &[u64], mut found: impl FnMut(usize, usize, u64)) {
        let mut depth = 0;
        while let Some((node, view)) = self.next(chain, depth) {
            let Some((matched, len)) = self.visit(node, view, chain, depth, &mut found) else { return };
            depth += matched;
            if matched < len {
                return;
            }
        }
    }

    #[inline]
    pub(super) fn next(self, chain: &[u64], depth: usize) -> Option<(&'a Node, NodeView)> {
        let first = *chain.get(depth)?;
        let mut next = None;
        self.heads.find(first, |id| {
            next = self.nodes.get(id).and_then(|node| Some((node, node.view(first)?)));
            next.is_some()
        });
        next
    }

    /// The blocks of `chain` that the node has and how many it has in all; `None` if it changes all the
    /// time.
    #[inline]
    fn visit(
        self,
        node: &Node,
        mut view: NodeView,
        chain: &[u64],
        depth: usize,
        found: &mut impl FnMut(usize, usize, u64),
    ) -> Option<(usize, usize)> {
        let rest = chain.get(depth..)?;
        for _ in 0..ATTEMPTS {
            let matched = matching(self.words, &view, rest);
            if self.workers(node, &view, |place, bits| found(depth + matched, place, bits)) {
                return Some((matched, view.len));
            }
            view = node.view(*rest.first()?)?;
        }
        None
    }

    /// Tells the workers of a node; false if the node changed meanwhile. Those that were told before held
    /// the run at some moment of the walk, so nothing has to be taken back.
    #[inline]
    pub(super) fn workers(self, node: &Node, view: &NodeView, mut found: impl FnMut(usize, u64)) -> bool {
        match view.set {
            SetView::Inline(words) => {
                // The run's hashes were read after the view was taken.
                if !node.is_unchanged(view) {
                    return false;
                }
                for (place, bits) in words {
                    if bits != 0 {
                        found(usize::from(place), bits);
                    }
                }
            }
            SetView::Array(at, len) => {
                for (group, words) in self.words.slice(at, len).chunks(GROUP).enumerate() {
                    let mut seen = [0; GROUP];
                    for (seen, word) in seen.iter_mut().zip(words) {
                        *seen = word.load(Ordering::Relaxed);
                    }
                    if !node.is_unchanged(view) {
                        return false;
                    }
                    for (offset, bits) in seen.into_iter().enumerate() {
                        if bits != 0 {
                            found(group * GROUP + offset, bits);
                        }
                    }
                }
            }
        }
        true
    }
}
