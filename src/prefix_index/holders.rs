//! The entries of one node, by worker.

use crate::prefix_index::entries::EntryId;

/// Who holds a node. Most nodes have one holder, which takes no memory of its own.
#[derive(Debug, Default)]
pub(super) enum Holders {
    #[default]
    Nobody,
    One(u16, EntryId),
    /// By worker.
    Many(Vec<(u16, EntryId)>),
}

impl Holders {
    /// The worker's entry.
    pub(super) fn get(&self, worker: u16) -> Option<EntryId> {
        match self {
            Self::Nobody => None,
            Self::One(holder, entry) => (*holder == worker).then_some(*entry),
            Self::Many(all) => {
                let at = all.binary_search_by_key(&worker, |(holder, _)| *holder).ok()?;
                all.get(at).map(|(_, entry)| *entry)
            }
        }
    }

    /// Adds the entry of a worker that is not there.
    pub(super) fn add(&mut self, worker: u16, entry: EntryId) {
        match self {
            Self::Nobody => *self = Self::One(worker, entry),
            Self::One(holder, first) => {
                let mut both = vec![(*holder, *first), (worker, entry)];
                both.sort_unstable();
                *self = Self::Many(both);
            }
            Self::Many(all) => {
                let at = all.partition_point(|(holder, _)| *holder < worker);
                all.insert(at, (worker, entry));
            }
        }
    }

    /// Takes a worker out.
    pub(super) fn remove(&mut self, worker: u16) {
        match self {
            Self::One(holder, _) if *holder == worker => *self = Self::Nobody,
            Self::Many(all) => {
                all.retain(|(holder, _)| *holder != worker);
                if let [(worker, entry)] = **all {
                    *self = Self::One(worker, entry);
                } else if all.len() * 4 < all.capacity() {
                    all.shrink_to(all.len() * 2);
                }
            }
            Self::Nobody | Self::One(..) => {}
        }
    }

    /// The entries, by worker.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u16, EntryId)> {
        let (one, many) = match self {
            Self::Nobody => (None, &[][..]),
            Self::One(worker, entry) => (Some((*worker, *entry)), &[][..]),
            Self::Many(all) => (None, &all[..]),
        };
        one.into_iter().chain(many.iter().copied())
    }

    /// True if nobody holds the node.
    pub(super) fn is_empty(&self) -> bool {
        matches!(self, Self::Nobody)
    }

    /// The only entry.
    pub(super) fn only(&self) -> Option<EntryId> {
        if let Self::One(_, entry) = self { Some(*entry) } else { None }
    }

    /// Bytes that it takes outside of itself.
    pub(super) fn bytes(&self) -> usize {
        if let Self::Many(all) = self { all.capacity() * size_of::<(u16, EntryId)>() } else { 0 }
    }
}
