//! Which signal slots are taken.

use std::sync::Arc;

use crate::core::signals::CHUNK_SLOTS;
use crate::core::signals::SignalChunk;

/// Which slots are taken. Lowest free slot first, so that tables stay dense.
#[derive(Debug, Default)]
pub(crate) struct Slots {
    chunks: Vec<(Arc<SignalChunk>, Vec<bool>)>,
}

impl Slots {
    /// A free slot, with the number that tables are sorted by.
    pub(crate) fn take(&mut self) -> (Arc<SignalChunk>, usize) {
        for (chunk, taken) in &mut self.chunks {
            if let Some((slot, taken)) = taken.iter_mut().enumerate().find(|(_, taken)| !**taken) {
                *taken = true;
                chunk.reset(slot);
                return (Arc::clone(chunk), slot);
            }
        }
        let chunk = Arc::new(SignalChunk::new());
        let mut taken = vec![false; CHUNK_SLOTS];
        if let Some(first) = taken.first_mut() {
            *first = true;
        }
        self.chunks.push((Arc::clone(&chunk), taken));
        (chunk, 0)
    }

    pub(crate) fn give_back(&mut self, chunk: &Arc<SignalChunk>, slot: usize) {
        let owner = self.chunks.iter_mut().find(|(candidate, _)| Arc::ptr_eq(candidate, chunk));
        if let Some(taken) = owner.and_then(|(_, taken)| taken.get_mut(slot)) {
            *taken = false;
        }
    }

    /// Where a slot stands among all slots.
    pub(crate) fn rank(&self, chunk: &Arc<SignalChunk>, slot: usize) -> (usize, usize) {
        let chunk = self.chunks.iter().position(|(candidate, _)| Arc::ptr_eq(candidate, chunk));
        (chunk.unwrap_or(usize::MAX), slot)
    }
}
