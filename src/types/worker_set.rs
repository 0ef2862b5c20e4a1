//! A set of workers, by their index in a worker table.

/// Workers of one table as bits: bit `i % 8` of byte `i / 8`, least significant first, which is
/// the form in which the plugin ABI sends them.
///
/// An index beyond the length is never a member, so a set made for a smaller table is harmless.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WorkerSet {
    bytes: Vec<u8>,
    fingerprint: u64,
}

impl WorkerSet {
    /// An empty set with room for `workers` indexes.
    pub fn with_capacity(workers: usize) -> Self {
        Self { bytes: Vec::with_capacity(workers.div_ceil(8)), fingerprint: 0 }
    }

    /// Adds a worker; the set grows as needed.
    pub fn insert(&mut self, index: usize) {
        let byte = index / 8;
        if byte >= self.bytes.len() {
            self.bytes.resize(byte + 1, 0);
        }
        let bit = 1 << (index % 8);
        if let Some(bits) = self.bytes.get_mut(byte).filter(|bits| **bits & bit == 0) {
            *bits |= bit;
            self.fingerprint = self.fingerprint.wrapping_add(mixed(index));
        }
    }

    /// Tells sets with different members apart, but for chance: equal sets have equal ones. Kept
    /// while members are added, so asking for it costs nothing.
    #[inline]
    pub(crate) fn fingerprint(&self) -> u64 {
        self.fingerprint
    }

    /// True if the worker is in the set.
    #[inline]
    pub fn contains(&self, index: usize) -> bool {
        self.bytes.get(index / 8).is_some_and(|bits| bits & (1 << (index % 8)) != 0)
    }

    /// How many workers are in the set.
    pub fn len(&self) -> usize {
        self.bytes.iter().map(|bits| bits.count_ones() as usize).sum()
    }

    /// True if no worker is in the set.
    pub fn is_empty(&self) -> bool {
        self.bytes.iter().all(|bits| *bits == 0)
    }

    /// The bits; shorter than the table where its last workers are not members.
    #[inline]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }
}

/// A number for a member, such that sums of different ones hardly ever meet (the mixer of
/// SplitMix64, shortened).
#[inline]
fn mixed(index: usize) -> u64 {
    let spread = (index as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mixed = (spread ^ (spread >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed ^ (mixed >> 31)
}

impl FromIterator<usize> for WorkerSet {
    fn from_iter<I: IntoIterator<Item = usize>>(indexes: I) -> Self {
        let mut set = Self::default();
        for index in indexes {
            set.insert(index);
        }
        set
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_found_and_others_are_not() {
        let set: WorkerSet = [0, 9, 17].into_iter().collect();
        let found: Vec<usize> = (0..40).filter(|i| set.contains(*i)).collect();
        assert_eq!(found, [0, 9, 17]);
        assert_eq!(set.len(), 3);
        assert_eq!(set.as_bytes(), [1, 2, 2]);
    }

    #[test]
    fn fingerprints_tell_sets_apart_whatever_the_order_of_their_members() {
        let of = |members: &[usize]| members.iter().copied().collect::<WorkerSet>().fingerprint();
        assert_eq!(of(&[3, 1, 2]), of(&[1, 2, 3, 2, 1]));
        let mut all: Vec<u64> = (0..1 << 12)
            .map(|bits: usize| (0..12).filter(|i| bits >> i & 1 == 1).collect::<WorkerSet>().fingerprint())
            .collect();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), 1 << 12);
    }
}
