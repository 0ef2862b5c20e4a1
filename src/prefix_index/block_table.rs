//! From a block's hash to the node that has it.

use std::sync::atomic::{AtomicU64, Ordering};

/// The number of a node.
pub(super) type NodeId = u32;

/// No node.
pub(super) const NO_NODE: NodeId = u32::MAX;

/// Slots of the smallest table.
const MIN_SLOTS: usize = 1024;

/// A hash table in one array: each slot has 32 bits of a hash and a node's number plus one.
///
/// Only the writer changes it. A reader that looks meanwhile may miss a hash that is there, for a moment,
/// and never takes a node without looking whether it has the hash. So what it finds is true, and at worst
/// too little.
#[derive(Debug)]
pub(super) struct BlockTable {
    slots: Box<[AtomicU64]>,
    shift: u32,
}

impl BlockTable {
    /// A table for at least `count` hashes.
    pub(super) fn for_count(count: usize) -> Self {
        let slots = slots_for(count);
        let shift = u32::BITS - slots.trailing_zeros();
        Self { slots: (0..slots).map(|_| AtomicU64::new(0)).collect(), shift }
    }

    /// Bytes that it takes.
    pub(super) fn bytes(&self) -> usize {
        size_of_val(&*self.slots)
    }

    /// True if it should be made larger before it takes one hash more than `count`.
    pub(super) fn is_full_with(&self, count: usize) -> bool {
        count + 1 > self.slots.len() / 4 * 3
    }

    /// The same content with twice the room.
    pub(super) fn grown(&self) -> Self {
        let next = Self::for_count(self.slots.len());
        for slot in &self.slots {
            let slot = slot.load(Ordering::Relaxed);
            if slot != 0 {
                next.put(slot);
            }
        }
        next
    }

    /// The first node of this hash that `is_it` accepts.
    #[inline]
    pub(super) fn find(&self, hash: u64, mut is_it: impl FnMut(NodeId) -> bool) -> Option<NodeId> {
        self.position(hash, &mut is_it).map(|(_, node)| node)
    }

    /// Adds a hash that is not there. The table must not be full.
    pub(super) fn insert(&self, hash: u64, node: NodeId) {
        self.put(u64::from(tag(hash)) << 32 | u64::from(node.wrapping_add(1)));
    }

    /// Takes the hash of that node out.
    pub(super) fn remove(&self, hash: u64, node: NodeId) {
        let Some((mut hole, _)) = self.position(hash, &mut |found| found == node) else { return };
        let mask = self.slots.len() - 1;
        let mut at = hole;
        // What follows moves up, so that no search ends at the hole before it found its slot.
        loop {
            at = (at + 1) & mask;
            let slot = self.load(at);
            if slot == 0 {
                break;
            }
            let home = self.home(of_tag(slot));
            if at.wrapping_sub(home) & mask >= at.wrapping_sub(hole) & mask {
                self.store(hole, slot);
                hole = at;
            }
        }
        self.store(hole, 0);
    }

    fn put(&self, slot: u64) {
        let mask = self.slots.len() - 1;
        let mut at = self.home(of_tag(slot));
        while self.load(at) != 0 {
            at = (at + 1) & mask;
        }
        self.store(at, slot);
    }

    #[inline]
    fn position(&self, hash: u64, is_it: &mut impl FnMut(NodeId) -> bool) -> Option<(usize, NodeId)> {
        let (tag, mask) = (tag(hash), self.slots.len() - 1);
        let mut at = self.home(tag);
        // Bounded, because a reader may meet slots while they move.
        for _ in 0..self.slots.len() {
            let slot = self.load(at);
            if slot == 0 {
                return None;
            }
            let node = node_of(slot);
            if of_tag(slot) == tag && is_it(node.wrapping_sub(1)) {
                return Some((at, node.wrapping_sub(1)));
            }
            at = (at + 1) & mask;
        }
        None
    }

    #[inline]
    fn home(&self, tag: u32) -> usize {
        (tag.wrapping_mul(0x9e37_79b1) >> self.shift) as usize
    }

    #[inline]
    fn load(&self, at: usize) -> u64 {
        // Acquire: pairs with `store`. Whoever finds a node's number sees the node.
        self.slots.get(at).map_or(0, |slot| slot.load(Ordering::Acquire))
    }

    fn store(&self, at: usize, slot: u64) {
        if let Some(place) = self.slots.get(at) {
            // Release: pairs with `load`.
            place.store(slot, Ordering::Release);
        }
    }
}

fn slots_for(count: usize) -> usize {
    (count * 4 / 3 + 4).next_power_of_two().max(MIN_SLOTS)
}

#[inline]
fn tag(hash: u64) -> u32 {
    of_tag(hash) ^ node_of(hash)
}

/// The lower half.
#[inline]
#[expect(clippy::cast_possible_truncation, reason = "the other half is not asked for")]
fn node_of(slot: u64) -> u32 {
    slot as u32
}

#[inline]
fn of_tag(slot: u64) -> u32 {
    (slot >> 32) as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    #[test]
    fn table_is_a_map_under_random_changes() {
        let mut random = fastrand::Rng::with_seed(7);
        let mut table = BlockTable::for_count(10);
        let mut model: HashMap<u64, NodeId> = HashMap::new();
        for round in 0..60_000_u32 {
            // Few homes, so that searches are long.
            let hash = random.u64(0..3000) << 7;
            if let Some(node) = model.remove(&hash) {
                table.remove(hash, node);
            } else {
                if table.is_full_with(model.len()) {
                    table = table.grown();
                }
                table.insert(hash, round);
                model.insert(hash, round);
            }
            let hash = random.u64(0..3000) << 7;
            let is_it = |node| model.get(&hash) == Some(&node);
            assert_eq!(table.find(hash, is_it), model.get(&hash).copied());
        }
        assert!(table.bytes() >= 3000 * 8);
    }
}
