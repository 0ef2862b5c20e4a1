//! Which signal slots are taken, and the chunks that they lie in.

use parking_lot::Mutex;

use crate::core::signals::CHUNK_SLOTS;
use crate::core::signals::Column;
use crate::core::signals::SignalChunk;

/// Chunks that belong to no fleet. They are never freed, but used again: so a guard of a request in
/// flight can name its counter without owning anything, and needs no reference count that all
/// decisions for a worker would write. There are as many as fleets needed at the same time.
static STOCK: Mutex<Vec<&'static SignalChunk>> = Mutex::new(Vec::new());

/// Which slots of a fleet are taken. Lowest free slot first, so that tables stay dense.
#[derive(Debug, Default)]
pub(crate) struct Slots {
    chunks: Vec<(&'static SignalChunk, Vec<bool>)>,
}

impl Slots {
    /// A free slot that no request is in flight to any more.
    pub(crate) fn take(&mut self) -> (&'static SignalChunk, usize) {
        for (chunk, taken) in &mut self.chunks {
            let free = |(slot, taken): &(usize, &mut bool)| !**taken && chunk.load(Column::Load, *slot) == 0;
            if let Some((slot, taken)) = taken.iter_mut().enumerate().find(free) {
                *taken = true;
                chunk.reset(slot);
                return (chunk, slot);
            }
        }
        let chunk = chunk();
        let mut taken = vec![false; CHUNK_SLOTS];
        if let Some(first) = taken.first_mut() {
            *first = true;
        }
        chunk.reset(0);
        self.chunks.push((chunk, taken));
        (chunk, 0)
    }

    /// The worker is gone; the slot is free once no request is in flight to it.
    pub(crate) fn give_back(&mut self, chunk: &'static SignalChunk, slot: usize) {
        let owner = self.chunks.iter_mut().find(|(candidate, _)| std::ptr::eq(*candidate, chunk));
        if let Some(taken) = owner.and_then(|(_, taken)| taken.get_mut(slot)) {
            *taken = false;
        }
    }

    /// Where a slot stands among all slots.
    pub(crate) fn rank(&self, chunk: &'static SignalChunk, slot: usize) -> (usize, usize) {
        let chunk = self.chunks.iter().position(|(candidate, _)| std::ptr::eq(*candidate, chunk));
        (chunk.unwrap_or(usize::MAX), slot)
    }
}

impl Drop for Slots {
    fn drop(&mut self) {
        STOCK.lock().extend(self.chunks.drain(..).map(|(chunk, _)| chunk));
    }
}

/// One of the stock that no request is in flight to, else a new one.
fn chunk() -> &'static SignalChunk {
    let mut stock = STOCK.lock();
    let idle = stock.iter().position(|chunk| chunk.is_idle());
    idle.map_or_else(|| &*Box::leak(Box::new(SignalChunk::new())), |index| stock.swap_remove(index))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunk_with_a_request_in_flight_is_given_to_no_other_fleet() {
        let mut slots = Slots::default();
        let (chunk, slot) = slots.take();
        chunk.add_load(slot);
        drop(slots);
        let mut held = Vec::new();
        let many = STOCK.lock().len() + 2;
        for _ in 0..many {
            let mut slots = Slots::default();
            assert!(!std::ptr::eq(slots.take().0, chunk));
            held.push(slots);
        }
        chunk.sub_load(slot);
    }

    #[test]
    fn chunk_is_used_again() {
        let used: std::collections::HashSet<_> =
            (0..1000).map(|_| std::ptr::from_ref(Slots::default().take().0) as usize).collect();
        assert!(used.len() < 100, "{} chunks for a fleet at a time", used.len());
    }
}
