//! What engines tell of their caches, on its way to the router.

use std::collections::{HashMap, VecDeque};

use crate::engine::KeptUnitChange;
use crate::workload::Workload;

/// Where a unit is in the prompts that have it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct UnitPlace {
    /// Units before it.
    pub(crate) depth: u32,
    /// The one before it.
    pub(crate) before: Option<u64>,
}

/// A change, as the router hears of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct HeardChange {
    /// The unit.
    pub(crate) id: u64,
    pub(crate) place: UnitPlace,
    /// Whether it is kept now.
    pub(crate) is_kept: bool,
}

/// What is on its way.
#[derive(Debug)]
pub(crate) struct CacheNews {
    delay: f64,
    places: HashMap<u64, UnitPlace>,
    /// Which candidate's changes, in the order in which they arrive.
    waiting: VecDeque<(u32, Vec<KeptUnitChange>)>,
}

impl CacheNews {
    /// Nothing is. All takes so many seconds.
    pub(crate) fn new(workload: &Workload, delay: f64) -> Self {
        let mut places = HashMap::new();
        for request in 0..workload.len() {
            let mut before = None;
            for (id, depth) in workload.whole_units(request).iter().zip(0..) {
                places.entry(*id).or_insert(UnitPlace { depth, before });
                before = Some(*id);
            }
        }
        Self { delay, places, waiting: VecDeque::new() }
    }

    /// A candidate tells of changes now: when they arrive, if there are any.
    pub(crate) fn send(&mut self, candidate: u32, changes: Vec<KeptUnitChange>, now: f64) -> Option<f64> {
        if changes.is_empty() {
            return None;
        }
        self.waiting.push_back((candidate, changes));
        Some(now + self.delay)
    }

    /// What arrives next.
    pub(crate) fn arrive(&mut self) -> Option<(u32, Vec<HeardChange>)> {
        let (candidate, changes) = self.waiting.pop_front()?;
        let heard = |change| {
            let (id, is_kept) = match change {
                KeptUnitChange::Kept(id) => (id, true),
                KeptUnitChange::Evicted(id) => (id, false),
            };
            Some(HeardChange { id, place: *self.places.get(&id)?, is_kept })
        };
        Some((candidate, changes.into_iter().filter_map(heard).collect()))
    }

    /// A candidate is dead: nothing of it arrives any more.
    pub(crate) fn forget(&mut self, candidate: u32) {
        for (other, changes) in &mut self.waiting {
            if *other == candidate {
                changes.clear();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_arrive_later_with_their_places_in_prompts() {
        let mut workload = Workload::new(10);
        workload.push(0.0, 35, 1, &[7, 8, 9]);
        let mut news = CacheNews::new(&workload, 0.5);
        assert_eq!(news.send(0, Vec::new(), 1.0), None);
        assert_eq!(news.send(0, vec![KeptUnitChange::Kept(7), KeptUnitChange::Kept(8)], 1.0), Some(1.5));
        assert_eq!(news.send(1, vec![KeptUnitChange::Kept(7)], 1.0), Some(1.5));
        assert_eq!(news.send(0, vec![KeptUnitChange::Evicted(8), KeptUnitChange::Kept(99)], 2.0), Some(2.5));
        news.forget(1);
        let change =
            |id, depth, before, is_kept| HeardChange { id, place: UnitPlace { depth, before }, is_kept };
        assert_eq!(news.arrive(), Some((0, vec![change(7, 0, None, true), change(8, 1, Some(7), true)])));
        assert_eq!(news.arrive(), Some((1, vec![])));
        assert_eq!(news.arrive(), Some((0, vec![change(8, 1, Some(7), false)])));
        assert_eq!(news.arrive(), None);
    }
}
