//! Which workers hold a node, as readers see it.

use std::sync::atomic::Ordering;

use crate::prefix_index::block_table::NodeId;
use crate::prefix_index::node::{INLINE_WORDS, Node, NodeView, SetView};
use crate::prefix_index::shared::Shared;
use crate::prefix_index::tree::Tree;
use crate::prefix_index::words::UNIT_WORDS;

impl Tree {
    /// Adds a worker to a node's set; false if there is no memory for it.
    pub(super) fn add_worker(&mut self, shared: &Shared, id: NodeId, worker: u16) -> bool {
        let Some(node) = shared.nodes.get(id) else { return false };
        let (place, bit) = (worker / 64, 1_u64 << (worker % 64));
        match node.own_view().set {
            SetView::Inline(mut words) => {
                let own = words.iter().position(|(own, bits)| *own == place && *bits != 0);
                let free = || words.iter().position(|(_, bits)| *bits == 0);
                let Some(at) = own.or_else(free) else {
                    return self.move_to_array(shared, id, &words, (place, bit));
                };
                if let Some(word) = words.get_mut(at) {
                    *word = (place, bit | if own.is_some() { word.1 } else { 0 });
                }
                node.change(|node| node.set_workers(SetView::Inline(words)));
                true
            }
            SetView::Array(at, len) => match shared.words.slice(at, len).get(usize::from(place)) {
                Some(word) => {
                    word.fetch_or(bit, Ordering::Relaxed);
                    true
                }
                None => self.move_to_larger_array(shared, id, (at, len), (place, bit)),
            },
        }
    }

    /// Takes a worker out of a node's set.
    pub(super) fn drop_worker(&mut self, shared: &Shared, id: NodeId, worker: u16) {
        let Some(node) = shared.nodes.get(id) else { return };
        let (place, bit) = (worker / 64, 1_u64 << (worker % 64));
        match node.own_view().set {
            SetView::Inline(mut words) => {
                for (own, bits) in &mut words {
                    if *own == place {
                        *bits &= !bit;
                    }
                }
                node.change(|node| node.set_workers(SetView::Inline(words)));
            }
            SetView::Array(at, len) => {
                if let Some(word) = shared.words.slice(at, len).get(usize::from(place)) {
                    word.fetch_and(!bit, Ordering::Relaxed);
                }
                self.move_inline(shared, id, node);
            }
        }
    }

    /// Gives the node `to` the set of a view, which is that of the node `from`.
    pub(super) fn copy_set(
        &mut self,
        shared: &Shared,
        view: &NodeView,
        from: NodeId,
        to: NodeId,
    ) -> Option<()> {
        let node = shared.nodes.get(to)?;
        let SetView::Array(at, len) = view.set else {
            node.change(|node| node.set_workers(view.set));
            return Some(());
        };
        let units = self.units_of_set(from);
        let copy = self.array(shared, units)?;
        shared.copy(at, 0, copy, len);
        node.change(|node| node.set_workers(SetView::Array(copy, len)));
        self.set_units_of_set(to, units);
        Some(())
    }

    /// Moves a set into an array and adds a worker.
    fn move_to_array(
        &mut self,
        shared: &Shared,
        id: NodeId,
        words: &[(u16, u64)],
        (place, bit): (u16, u64),
    ) -> bool {
        let last = words.iter().map(|(place, _)| *place).chain([place]).max().unwrap_or_default();
        let units = (usize::from(last) + 1).div_ceil(UNIT_WORDS);
        let len = units * UNIT_WORDS;
        let (Some(at), Some(node)) = (self.array(shared, units), shared.nodes.get(id)) else { return false };
        let array = shared.words.slice(at, len);
        array.iter().for_each(|word| word.store(0, Ordering::Relaxed));
        for (place, bits) in words.iter().chain([&(place, bit)]) {
            if let Some(word) = array.get(usize::from(*place)) {
                word.fetch_or(*bits, Ordering::Relaxed);
            }
        }
        node.change(|node| node.set_workers(SetView::Array(at, len)));
        self.set_units_of_set(id, units);
        true
    }

    fn move_to_larger_array(
        &mut self,
        shared: &Shared,
        id: NodeId,
        (at, len): (u32, usize),
        (place, bit): (u16, u64),
    ) -> bool {
        let units = (usize::from(place) + 1).div_ceil(UNIT_WORDS);
        let (Some(larger), Some(node)) = (self.array(shared, units), shared.nodes.get(id)) else {
            return false;
        };
        let array = shared.words.slice(larger, units * UNIT_WORDS);
        array.iter().for_each(|word| word.store(0, Ordering::Relaxed));
        shared.copy(at, 0, larger, len);
        if let Some(word) = array.get(usize::from(place)) {
            word.store(bit, Ordering::Relaxed);
        }
        node.change(|node| node.set_workers(SetView::Array(larger, units * UNIT_WORDS)));
        let before = self.units_of_set(id);
        self.give_array(at, before);
        self.set_units_of_set(id, units);
        true
    }

    /// Moves a set that has become small out of its array.
    fn move_inline(&mut self, shared: &Shared, id: NodeId, node: &Node) {
        let SetView::Array(at, len) = node.own_view().set else { return };
        let mut words = [(0, 0); INLINE_WORDS];
        // One place stays free, so that a set which goes to and fro does not move each time.
        let mut places = words.iter_mut().skip(1);
        for (place, word) in (0..).zip(shared.words.slice(at, len)) {
            let bits = word.load(Ordering::Relaxed);
            if bits != 0 {
                let Some(own) = places.next() else { return };
                *own = (place, bits);
            }
        }
        node.change(|node| node.set_workers(SetView::Inline(words)));
        let units = self.units_of_set(id);
        self.give_array(at, units);
        self.set_units_of_set(id, 0);
    }
}
