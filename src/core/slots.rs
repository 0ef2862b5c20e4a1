//! Which signal slots are taken, and the chunks that they lie in.

use parking_lot::Mutex;

use crate::core::signals::{CHUNK_SLOTS, SignalChunk};
use sgl_policy_abi::Column;

/// Chunks that belong to no fleet. They are never freed, only reused: so the guard of a request in
/// flight can name its counter without owning anything, and needs no reference count that all decisions
/// for a worker would write. There are as many as fleets needed at the same time.
static STOCK: Mutex<Vec<&'static SignalChunk>> = Mutex::new(Vec::new());

/// Which slots of a fleet are taken. Takes the lowest free slot first, so that tables stay dense.
#[derive(Debug, Default)]
pub(crate) struct Slots {
    /// How many workers own each slot: 0 or 1, or more if a worker was removed and added again while
    /// older tables with it still live.
    chunks: Vec<(&'static SignalChunk, Vec<u32>)>,
    /// No slot before this one, over all chunks, is without an owner: the search for a free one starts here.
    first_free: usize,
    /// The slots of removed workers that may have requests in flight.
    left: Vec<Left>,
}

/// Where a removed worker is counted.
#[derive(Debug)]
struct Left {
    url: String,
    chunk: &'static SignalChunk,
    slot: usize,
}

impl Slots {
    /// A slot for the worker with this URL: its former one, if it still has requests in flight there, so
    /// that they go on counting; else a free one without requests in flight.
    pub(crate) fn take(&mut self, url: &str) -> (&'static SignalChunk, usize) {
        let (chunk, slot) = self.of_before(url).or_else(|| self.free()).unwrap_or_else(|| self.grow());
        // A free slot may be one that another worker left.
        self.left.retain(|left| !(std::ptr::eq(left.chunk, chunk) && left.slot == slot));
        self.share(chunk, slot);
        chunk.reset(slot);
        (chunk, slot)
    }

    /// Gives a slot that is taken one owner more.
    pub(crate) fn share(&mut self, chunk: &'static SignalChunk, slot: usize) {
        if let Some(owners) = self.owners(chunk, slot) {
            *owners += 1;
        }
    }

    fn of_before(&self, url: &str) -> Option<(&'static SignalChunk, usize)> {
        let left = self.left.iter().find(|left| left.url == url)?;
        Some((left.chunk, left.slot))
    }

    fn free(&mut self) -> Option<(&'static SignalChunk, usize)> {
        let (chunks, first) = (&self.chunks, self.first_free);
        let slots = chunks.iter().enumerate().skip(first / CHUNK_SLOTS).flat_map(|(at, (chunk, owners))| {
            let slots = owners.iter().enumerate();
            slots.map(move |(slot, owners)| (at * CHUNK_SLOTS + slot, *chunk, slot, *owners))
        });
        let mut unowned = slots.filter(|(number, _, _, owners)| *number >= first && *owners == 0).peekable();
        let next = unowned.peek().map_or(chunks.len() * CHUNK_SLOTS, |(number, ..)| *number);
        // Those with requests in flight are passed over, and stay free for the next search.
        let found = unowned.find(|(_, chunk, slot, _)| chunk.is_idle_at(*slot));
        self.first_free = next;
        found.map(|(_, chunk, slot, _)| (chunk, slot))
    }

    fn grow(&mut self) -> (&'static SignalChunk, usize) {
        let chunk = chunk();
        self.chunks.push((chunk, vec![0; CHUNK_SLOTS]));
        (chunk, 0)
    }

    fn owners(&mut self, chunk: &'static SignalChunk, slot: usize) -> Option<&mut u32> {
        let own = self.chunks.iter_mut().find(|(candidate, _)| std::ptr::eq(*candidate, chunk));
        own.and_then(|(_, owners)| owners.get_mut(slot))
    }

    /// Notes that the worker was removed. It may come back while it has requests in flight.
    pub(crate) fn leave(&mut self, url: &str, chunk: &'static SignalChunk, slot: usize) {
        let mut left = std::mem::take(&mut self.left);
        left.retain(|left| {
            let is_owned = self.owners(left.chunk, left.slot).is_some_and(|owners| *owners > 0);
            left.url != url && (is_owned || left.chunk.load(Column::Load, left.slot) > 0)
        });
        left.push(Left { url: url.to_owned(), chunk, slot });
        self.left = left;
    }

    /// Takes an owner from the slot, which is free once no request is in flight to it.
    pub(crate) fn give_back(&mut self, chunk: &'static SignalChunk, slot: usize) {
        let Some(owners) = self.owners(chunk, slot) else { return };
        *owners = owners.saturating_sub(1);
        if *owners == 0 {
            let (chunk, slot) = self.rank(chunk, slot);
            self.first_free = self.first_free.min(chunk.saturating_mul(CHUNK_SLOTS).saturating_add(slot));
        }
    }

    /// The position of a slot among all slots.
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

/// A chunk of the stock without requests in flight, else a new one.
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
        let (chunk, slot) = slots.take("a");
        chunk.add_load(slot);
        drop(slots);
        let mut held = Vec::new();
        let many = STOCK.lock().len() + 2;
        for _ in 0..many {
            let mut slots = Slots::default();
            assert!(!std::ptr::eq(slots.take("b").0, chunk));
            held.push(slots);
        }
        chunk.sub_load(slot);
    }

    #[test]
    fn chunk_is_used_again() {
        let used: std::collections::HashSet<_> =
            (0..1000).map(|_| std::ptr::from_ref(Slots::default().take("a").0) as usize).collect();
        assert!(used.len() < 100, "{} chunks for a fleet at a time", used.len());
    }
}
