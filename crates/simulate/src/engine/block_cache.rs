//! The KV cache of one engine: blocks that sequences use, and blocks that are kept for later ones.
#![expect(clippy::indexing_slicing, reason = "numbers of nodes are positions in the list of nodes")]

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

/// No node.
const NONE: u32 = u32::MAX;

/// The cache, in units: a unit is a part of a prompt that others may share, of one or several blocks.
///
/// ```text
///  own blocks of a sequence ── keep ──► kept, in use ── let_go ──► idle, oldest first ── evicted ──► free
///                                            ▲                       │
///                                            └──────── pin ──────────┘
/// ```
#[derive(Debug)]
pub(crate) struct BlockCache {
    capacity: u32,
    /// Blocks that are not free.
    taken: u32,
    /// Those of them that nobody uses.
    idle: u32,
    /// Blocks of a unit.
    weight: u32,
    nodes: Vec<KeptUnit>,
    free_nodes: Vec<u32>,
    places: HashMap<u64, u32, BuildHasherDefault<IdHasher>>,
    oldest: u32,
    newest: u32,
    /// What changed, if anybody wants to know.
    log: Option<Vec<KeptUnitChange>>,
}

/// What changed in a cache: a unit by its id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeptUnitChange {
    /// It is kept now.
    Kept(u64),
    /// It is kept no longer.
    Evicted(u64),
}

/// A unit that is kept.
#[derive(Clone, Copy, Debug)]
struct KeptUnit {
    id: u64,
    /// Sequences that use it.
    users: u32,
    /// Its neighbours among those that nobody uses.
    older: u32,
    newer: u32,
}

/// What of a prompt is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CacheHit {
    /// Units from the first on.
    pub(crate) units: usize,
    /// Their blocks that nobody uses, and that would be in use if they were pinned.
    pub(crate) idle_blocks: u32,
}

/// Ids are numbers that somebody counted up or hashed: a multiplication spreads either.
#[derive(Debug, Default)]
struct IdHasher(u64);

impl Hasher for IdHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.write_u64((self.0 ^ u64::from(*byte)).rotate_left(8)));
    }

    #[inline]
    fn write_u64(&mut self, id: u64) {
        self.0 = id.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(26);
    }
}

impl BlockCache {
    /// An empty cache of so many blocks, in units of `weight` blocks.
    pub(crate) fn new(capacity: u32, weight: u32) -> Self {
        Self {
            capacity,
            taken: 0,
            idle: 0,
            weight,
            nodes: Vec::new(),
            free_nodes: Vec::new(),
            places: HashMap::default(),
            oldest: NONE,
            newest: NONE,
            log: None,
        }
    }

    /// Notes changes from now on.
    pub(crate) fn start_log(&mut self) {
        self.log = Some(Vec::new());
    }

    /// True if changes are noted.
    pub(crate) fn is_logging(&self) -> bool {
        self.log.is_some()
    }

    /// What changed since this was asked last.
    pub(crate) fn take_log(&mut self) -> Vec<KeptUnitChange> {
        self.log.as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// Blocks that can be had: free ones, and those that nobody uses.
    pub(crate) fn available(&self) -> u32 {
        self.capacity - self.taken + self.idle
    }

    /// Blocks that sequences use.
    pub(crate) fn in_use(&self) -> u32 {
        self.taken - self.idle
    }

    /// What of these units is kept, from the first on.
    pub(crate) fn matched(&self, ids: &[u64]) -> CacheHit {
        let (mut units, mut idle) = (0, 0);
        for node in ids.iter().map_while(|id| self.places.get(id)) {
            units += 1;
            idle += u32::from(self.nodes[*node as usize].users == 0);
        }
        CacheHit { units, idle_blocks: idle * self.weight }
    }

    /// One more sequence uses these units, which are kept.
    pub(crate) fn pin(&mut self, ids: &[u64]) {
        for id in ids {
            if let Some(node) = self.places.get(id).copied() {
                self.pin_node(node);
            }
        }
    }

    fn pin_node(&mut self, node: u32) {
        let unit = &mut self.nodes[node as usize];
        unit.users += 1;
        if unit.users == 1 {
            self.unlink(node);
            self.idle -= self.weight;
        }
    }

    /// A sequence takes so many blocks for itself, which must be [`available`](Self::available).
    pub(crate) fn take(&mut self, blocks: u32) {
        self.taken += blocks;
        while self.taken > self.capacity && self.oldest != NONE {
            self.evict();
        }
    }

    /// A sequence gives back blocks of its own.
    pub(crate) fn give_back(&mut self, blocks: u32) {
        self.taken -= blocks;
    }

    /// Makes a unit of blocks that a sequence has for itself one that others may share; it goes on using it.
    /// Where another sequence did the same before, theirs is used, and its own blocks become free.
    pub(crate) fn keep(&mut self, id: u64) {
        if let Some(node) = self.places.get(&id).copied() {
            self.pin_node(node);
            self.give_back(self.weight);
            return;
        }
        let unit = KeptUnit { id, users: 1, older: NONE, newer: NONE };
        let node = match self.free_nodes.pop() {
            Some(node) => {
                self.nodes[node as usize] = unit;
                node
            }
            None => {
                self.nodes.push(unit);
                u32::try_from(self.nodes.len() - 1).unwrap_or(NONE)
            }
        };
        self.places.insert(id, node);
        if let Some(log) = &mut self.log {
            log.push(KeptUnitChange::Kept(id));
        }
    }

    /// A sequence uses these units no longer. The last of them is the first to be evicted, since it is of no
    /// use without those before it.
    pub(crate) fn let_go(&mut self, ids: &[u64]) {
        for id in ids.iter().rev() {
            let Some(node) = self.places.get(id).copied() else { continue };
            let unit = &mut self.nodes[node as usize];
            unit.users -= 1;
            if unit.users == 0 {
                self.idle += self.weight;
                self.link(node);
            }
        }
    }

    fn evict(&mut self) {
        let node = self.oldest;
        self.unlink(node);
        let id = self.nodes[node as usize].id;
        self.places.remove(&id);
        if let Some(log) = &mut self.log {
            log.push(KeptUnitChange::Evicted(id));
        }
        self.free_nodes.push(node);
        self.idle -= self.weight;
        self.taken -= self.weight;
    }

    /// Puts a node behind all others that nobody uses.
    fn link(&mut self, node: u32) {
        self.nodes[node as usize].older = self.newest;
        self.nodes[node as usize].newer = NONE;
        match self.newest {
            NONE => self.oldest = node,
            newest => self.nodes[newest as usize].newer = node,
        }
        self.newest = node;
    }

    fn unlink(&mut self, node: u32) {
        let KeptUnit { older, newer, .. } = self.nodes[node as usize];
        match older {
            NONE => self.oldest = newer,
            older => self.nodes[older as usize].newer = newer,
        }
        match newer {
            NONE => self.newest = older,
            newer => self.nodes[newer as usize].older = older,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One prompt comes and goes: how many of its units were there.
    fn serve(cache: &mut BlockCache, ids: &[u64]) -> usize {
        let hit = cache.matched(ids).units;
        cache.pin(&ids[..hit]);
        let new = u32::try_from(ids.len() - hit).unwrap();
        assert!(cache.available() >= new, "each prompt fits");
        cache.take(new);
        ids[hit..].iter().for_each(|id| cache.keep(*id));
        cache.let_go(ids);
        hit
    }

    /// The same with a list, the least recently used first.
    fn serve_by_hand(kept: &mut Vec<u64>, capacity: usize, ids: &[u64]) -> usize {
        let hit = ids.iter().take_while(|id| kept.contains(id)).count();
        kept.retain(|id| !ids[..hit].contains(id));
        while kept.len() + ids.len() > capacity {
            kept.remove(0);
        }
        // What is computed again takes the place of what was kept behind the match.
        kept.retain(|id| !ids.contains(id));
        kept.extend(ids.iter().rev());
        hit
    }

    #[test]
    fn hits_are_those_of_a_list_in_the_order_of_use() {
        let mut random = fastrand::Rng::with_seed(7);
        let (mut cache, mut kept) = (BlockCache::new(60, 1), Vec::new());
        let mut hits = 0;
        for _ in 0..5000 {
            // Prompts of some families: the same beginning, and an end that few share.
            let (family, length) = (random.u64(..8), random.u64(1..20));
            let end = random.u64(..3) << 16;
            let ids: Vec<u64> =
                (0..length).map(|at| (family << 32) + at + if at > 8 { end } else { 0 }).collect();
            let hit = serve(&mut cache, &ids);
            assert_eq!(hit, serve_by_hand(&mut kept, 60, &ids));
            hits += hit;
            assert_eq!(cache.places.len(), kept.len());
            assert_eq!((cache.in_use(), cache.available()), (0, 60));
        }
        assert!(hits > 10_000, "{hits}");
    }

    #[test]
    fn units_in_use_are_not_evicted_and_the_deepest_idle_one_goes_first() {
        let mut cache = BlockCache::new(4, 1);
        cache.take(2);
        [1, 2].iter().for_each(|id| cache.keep(*id));
        assert_eq!((cache.available(), cache.in_use()), (2, 2));
        cache.take(2);
        cache.give_back(2);
        assert_eq!(cache.matched(&[1, 2]), CacheHit { units: 2, idle_blocks: 0 });
        cache.let_go(&[1, 2]);
        assert_eq!((cache.available(), cache.in_use()), (4, 0));
        cache.take(3);
        assert_eq!(cache.matched(&[1, 2]), CacheHit { units: 1, idle_blocks: 1 });
    }

    #[test]
    fn changes_are_told_in_their_order() {
        let mut cache = BlockCache::new(2, 1);
        assert!(!cache.is_logging());
        cache.start_log();
        cache.take(2);
        [1, 2].iter().for_each(|id| cache.keep(*id));
        cache.let_go(&[1, 2]);
        cache.take(1);
        cache.keep(3);
        let told = [
            KeptUnitChange::Kept(1),
            KeptUnitChange::Kept(2),
            KeptUnitChange::Evicted(2),
            KeptUnitChange::Kept(3),
        ];
        assert_eq!(cache.take_log(), told);
        assert_eq!(cache.take_log(), []);
    }

    #[test]
    fn unit_that_two_computed_is_kept_once() {
        let mut cache = BlockCache::new(8, 2);
        cache.take(4);
        cache.keep(7);
        cache.keep(7);
        assert_eq!(cache.in_use(), 2);
        cache.let_go(&[7]);
        assert_eq!((cache.in_use(), cache.matched(&[7]).idle_blocks), (2, 0));
        cache.let_go(&[7]);
        assert_eq!((cache.in_use(), cache.available(), cache.matched(&[7]).idle_blocks), (0, 8, 2));
    }
}
