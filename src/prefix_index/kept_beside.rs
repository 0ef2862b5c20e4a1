//! What those who feed an index keep for it, within its bound.

use std::sync::{Arc, Weak};

use crate::prefix_index::index::PrefixIndex;

/// Memory that somebody who feeds an index keeps beside it, such as an engine's names for blocks that are not
/// those of the index. It counts as the index's own: half of what the index may take is the most for all of them
/// together, and the index forgets earlier to make room for it. Dropped, it is given back.
#[derive(Debug)]
pub struct KeptBeside {
    index: Weak<PrefixIndex>,
    bytes: usize,
}

impl KeptBeside {
    /// Nothing is kept yet.
    pub fn new(index: &Arc<PrefixIndex>) -> Self {
        Self { index: Arc::downgrade(index), bytes: 0 }
    }

    /// Bytes that are kept.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// So many bytes are to be kept from now on. False, and as many as before, if these are more and there is no
    /// room for them, or no index any more.
    #[must_use]
    pub fn resize(&mut self, bytes: usize) -> bool {
        // Most blocks change nothing, and what all who feed the index share is not touched for them.
        if bytes == self.bytes {
            return true;
        }
        let index = self.index.upgrade();
        let has_room = index.is_some_and(|index| index.keep_beside(self.bytes, bytes)) || bytes <= self.bytes;
        if has_room {
            self.bytes = bytes;
        }
        has_room
    }
}

impl Drop for KeptBeside {
    fn drop(&mut self) {
        let _less = self.resize(0);
    }
}
