//! A run of blocks that follow one another, and which workers hold it.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};

use crate::prefix_index::block_table::NodeId;
use crate::prefix_index::words::{MAX_WORDS, WordChunks, WordsAt};

/// Blocks of a node at most.
pub(super) const MAX_BLOCKS: usize = 256;
/// Workers that a node can name: as many bits as the largest array has.
pub(super) const MAX_WORKERS: usize = MAX_WORDS * 64;
/// Words of a set that fit into the node itself.
pub(super) const INLINE_WORDS: usize = 3;
/// No array: the set is in the node itself.
const INLINE: WordsAt = u32::MAX;
/// Nodes in a chunk, which is what is asked of the allocator at once: 64 KiB.
const CHUNK_NODES: usize = 1024;
/// Bytes of a chunk.
const CHUNK_BYTES: usize = CHUNK_NODES * size_of::<Node>();
/// How often a reader looks again at a node that changes under its eyes, before it takes it as not there.
const ATTEMPTS: usize = 64;

/// What readers see of a run of blocks: one line of a processor's cache.
///
/// All workers of the set hold all blocks of the run, and all blocks before it.
///
/// # Concurrency
///
/// A sequence lock: the writer makes `version` odd, changes what it wants and makes it even again; a reader
/// that finds another version after it looked than before does not use what it saw. The memory is used
/// again for other runs, so that `version` only grows.
#[derive(Debug)]
#[repr(align(64))]
pub(super) struct Node {
    version: AtomicU32,
    /// Blocks of the run; 0 for a node that is free.
    len: AtomicU32,
    /// Hashes of the first and the last block. The last is enough to know that a request has the run: a
    /// hash covers all blocks before it.
    first: AtomicU64,
    last: AtomicU64,
    /// The array with the hashes of all blocks.
    hashes: AtomicU32,
    /// The array with the set of workers, a bit each; [`INLINE`] if `bits` are it.
    set: AtomicU32,
    /// Which words of the set `bits` are, 16 bits for each; or how many words the array has.
    places: AtomicU64,
    bits: [AtomicU64; INLINE_WORDS],
}

/// What a reader knows of a node after one look.
#[derive(Clone, Copy, Debug)]
pub(super) struct NodeView {
    version: u32,
    pub(super) len: usize,
    pub(super) last: u64,
    pub(super) hashes: WordsAt,
    pub(super) set: SetView,
}

/// Where the set of a node's workers is.
#[derive(Clone, Copy, Debug)]
pub(super) enum SetView {
    /// Words and their places; those without a bit do not count.
    Inline([(u16, u64); INLINE_WORDS]),
    /// An array and its words.
    Array(WordsAt, usize),
}

impl Default for Node {
    fn default() -> Self {
        Self {
            version: AtomicU32::new(0),
            len: AtomicU32::new(0),
            first: AtomicU64::new(0),
            last: AtomicU64::new(0),
            hashes: AtomicU32::new(0),
            set: AtomicU32::new(INLINE),
            places: AtomicU64::new(0),
            bits: [const { AtomicU64::new(0) }; INLINE_WORDS],
        }
    }
}

impl Node {
    /// What the node is now, if its first block has this hash.
    #[inline]
    pub(super) fn view(&self, first: u64) -> Option<NodeView> {
        for _ in 0..ATTEMPTS {
            // Acquire: pairs with the release in `change`.
            let version = self.version.load(Ordering::Acquire);
            let is_it = self.first.load(Ordering::Relaxed) == first;
            let view = self.look(version);
            if version.is_multiple_of(2) && self.is_still(version) {
                return (is_it && view.len > 0).then_some(view);
            }
            std::hint::spin_loop();
        }
        None
    }

    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "a place is 16 bits of the word, a length is short")]
    fn look(&self, version: u32) -> NodeView {
        let places = self.places.load(Ordering::Relaxed);
        let set = match self.set.load(Ordering::Relaxed) {
            INLINE => SetView::Inline(std::array::from_fn(|i| {
                let bits = self.bits.get(i).map_or(0, |bits| bits.load(Ordering::Relaxed));
                ((places >> (16 * i)) as u16, bits)
            })),
            at => SetView::Array(at, (places as usize).min(MAX_WORDS)),
        };
        NodeView {
            version,
            len: self.len.load(Ordering::Relaxed) as usize,
            last: self.last.load(Ordering::Relaxed),
            hashes: self.hashes.load(Ordering::Relaxed),
            set,
        }
    }

    /// True if nothing changed since the view was taken: what was read of the node's arrays since is its own.
    #[inline]
    pub(super) fn is_unchanged(&self, view: &NodeView) -> bool {
        self.is_still(view.version)
    }

    #[inline]
    fn is_still(&self, version: u32) -> bool {
        // Pairs with the release fence in `change`: whoever read something of the change sees its version.
        fence(Ordering::Acquire);
        self.version.load(Ordering::Relaxed) == version
    }

    /// What the node is, for the writer, whom nobody disturbs.
    pub(super) fn own_view(&self) -> NodeView {
        self.look(self.version.load(Ordering::Relaxed))
    }

    /// The hash of the first block, for the writer.
    pub(super) fn first(&self) -> u64 {
        self.first.load(Ordering::Relaxed)
    }

    /// Changes something that readers must not see half of. Only the writer may.
    pub(super) fn change(&self, change: impl FnOnce(&Self)) {
        let version = self.version.load(Ordering::Relaxed);
        self.version.store(version.wrapping_add(1), Ordering::Relaxed);
        // Pairs with the acquire fence in `is_still`.
        fence(Ordering::Release);
        change(self);
        // Release: pairs with the acquire in `view`.
        self.version.store(version.wrapping_add(2), Ordering::Release);
    }

    /// Sets the run; 0 blocks make the node free. In [`Self::change`].
    pub(super) fn set_run(&self, hashes: WordsAt, len: usize, first: u64, last: u64) {
        self.hashes.store(hashes, Ordering::Relaxed);
        // At most [`MAX_BLOCKS`].
        self.len.store(u32::try_from(len).unwrap_or_default(), Ordering::Relaxed);
        self.first.store(first, Ordering::Relaxed);
        self.last.store(last, Ordering::Relaxed);
    }

    /// Sets where the set of workers is. In [`Self::change`].
    pub(super) fn set_workers(&self, set: SetView) {
        match set {
            SetView::Array(at, words) => {
                self.set.store(at, Ordering::Relaxed);
                self.places.store(words as u64, Ordering::Relaxed);
            }
            SetView::Inline(words) => {
                self.set.store(INLINE, Ordering::Relaxed);
                let places = words.iter().rev().fold(0, |all, (place, _)| all << 16 | u64::from(*place));
                self.places.store(places, Ordering::Relaxed);
                for (own, (_, bits)) in self.bits.iter().zip(words) {
                    own.store(bits, Ordering::Relaxed);
                }
            }
        }
    }
}

/// All nodes, by number. They never move or go, so that readers need no lock.
#[derive(Debug)]
pub(super) struct Nodes {
    chunks: Box<[OnceLock<Box<[Node]>>]>,
}

impl Nodes {
    /// Room for at most `max_bytes`.
    pub(super) fn new(max_bytes: usize) -> Self {
        let chunks = (max_bytes / CHUNK_BYTES).clamp(1, (u32::MAX as usize - 1) / CHUNK_NODES);
        Self { chunks: (0..chunks).map(|_| OnceLock::new()).collect() }
    }

    /// The node of that number.
    #[inline]
    pub(super) fn get(&self, id: NodeId) -> Option<&Node> {
        let (chunk, at) = (id as usize / CHUNK_NODES, id as usize % CHUNK_NODES);
        self.chunks.get(chunk).and_then(OnceLock::get).and_then(|nodes| nodes.get(at))
    }

    /// The node of that number, made if there is room for it.
    pub(super) fn make(&self, id: NodeId) -> Option<&Node> {
        let chunk = self.chunks.get(id as usize / CHUNK_NODES)?;
        chunk.get_or_init(|| (0..CHUNK_NODES).map(|_| Node::default()).collect());
        self.get(id)
    }

    /// Bytes of all nodes below that number.
    pub(super) fn bytes_below(id: NodeId) -> usize {
        (id as usize).div_ceil(CHUNK_NODES) * CHUNK_BYTES
    }
}

/// How many of `chain`'s first blocks the run has, up to its length. The first one is known to be equal.
#[inline]
pub(super) fn matching(words: &WordChunks, view: &NodeView, chain: &[u64]) -> usize {
    let common = chain.len().min(view.len);
    if common == view.len && chain.get(common - 1) == Some(&view.last) {
        return common;
    }
    let hashes = words.slice(view.hashes, common);
    let is_equal =
        |at: usize| hashes.get(at).map(|hash| hash.load(Ordering::Relaxed)) == chain.get(at).copied();
    // A hash covers all before it: what follows an equal block may differ, what is before it may not.
    let (mut equal, mut other) = (1, common);
    if equal < other && is_equal(common - 1) {
        return common;
    }
    while equal < other {
        let middle = equal.midpoint(other);
        if is_equal(middle) { equal = middle + 1 } else { other = middle }
    }
    equal
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn node_is_a_line_of_the_cache() {
        assert_eq!(size_of::<Node>(), 64);
    }

    #[test]
    fn node_that_changes_for_too_long_is_not_there() {
        let node = Node::default();
        node.change(|node| node.set_run(0, 1, 7, 7));
        assert!(node.view(7).is_some() && node.view(8).is_none());
        let before = node.own_view();
        node.change(|node| {
            assert!(node.view(7).is_none());
            node.set_run(0, 2, 7, 9);
        });
        assert!(!node.is_unchanged(&before));
        assert_eq!(node.view(7).map(|view| (view.len, view.last)), Some((2, 9)));
    }
}
