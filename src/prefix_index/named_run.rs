//! Blocks that follow one another, as somebody tells of them.

/// Their hashes, and their names: as many.
#[derive(Clone, Copy, Debug)]
pub(super) struct NamedRun<'a> {
    pub(super) hashes: &'a [u64],
    pub(super) names: &'a [u64],
}

impl<'a> NamedRun<'a> {
    /// Blocks that have no other name than their hash.
    pub(super) fn unnamed(hashes: &'a [u64]) -> Self {
        Self { hashes, names: hashes }
    }

    /// As many blocks as have both.
    pub(super) fn new(hashes: &'a [u64], names: &'a [u64]) -> Self {
        let len = hashes.len().min(names.len());
        Self { hashes, names }.to(len)
    }

    pub(super) fn len(&self) -> usize {
        self.hashes.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.hashes.is_empty()
    }

    /// The first blocks.
    pub(super) fn to(self, end: usize) -> Self {
        Self {
            hashes: self.hashes.get(..end).unwrap_or(self.hashes),
            names: self.names.get(..end).unwrap_or(self.names),
        }
    }

    /// All but the first blocks.
    pub(super) fn from(self, begin: usize) -> Self {
        let hashes = self.hashes.get(begin..).unwrap_or_default();
        Self { hashes, names: self.names.get(begin..).unwrap_or_default() }
    }

    /// True if some block has another name than its hash.
    pub(super) fn has_names(&self) -> bool {
        self.hashes != self.names
    }

    /// Hash and name of each block.
    pub(super) fn iter(self) -> impl Iterator<Item = (u64, u64)> {
        self.hashes.iter().copied().zip(self.names.iter().copied())
    }
}
