//! Whose turn it is: one position for each list of workers that requests choose from.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use crate::core::candidate_workers::CandidateWorkers;
use crate::policies::select_worker_info::SelectWorkerInfo;
use crate::types::worker_set::WorkerSet;
use sgl_policy_abi::Leg;

/// How many lists have separate turns at a time: one for each model, and for each half of a pair. Beyond
/// that lists begin to share, which is uneven only if their requests alternate.
const SLOTS: usize = 64;

/// In how many slots a list may be, counted from the one that its key names.
const PROBES: usize = 8;

/// Turns by list. Requests that choose from different lists must not share a counter: if requests for
/// two models alternated, each model would see only every second turn, and half of its workers would get
/// nothing.
///
/// # Concurrency
///
/// Everything is `Relaxed`: a turn orders nothing else. Two threads that claim a slot for the same list
/// at once may use two for a moment, and a list that loses its slot to another starts again somewhere:
/// both cost a few turns and no correctness.
#[derive(Debug)]
pub(crate) struct Turns {
    /// For requests that may go to any worker of the router's own table.
    fleet: AtomicUsize,
    slots: Box<[Slot; SLOTS]>,
    claimed: AtomicUsize,
}

#[derive(Debug)]
struct Slot {
    /// The key of the list; 0 = none yet.
    list: AtomicU64,
    turn: AtomicUsize,
}

impl Default for Turns {
    fn default() -> Self {
        let empty = [const { Slot { list: AtomicU64::new(0), turn: AtomicUsize::new(0) } }; SLOTS];
        Self { fleet: AtomicUsize::new(0), slots: Box::new(empty), claimed: AtomicUsize::new(0) }
    }
}

impl Turns {
    /// The turns of the list that this request chooses from: a table (or slice), a leg, and the workers
    /// that qualify.
    #[inline]
    pub(crate) fn of<C: CandidateWorkers>(&self, workers: &C, info: &SelectWorkerInfo<'_>) -> &AtomicUsize {
        // The usual request needs no look-up, and its turns go on when the table changes.
        if workers.is_fleet() && info.eligible.is_none() && info.leg == Leg::Single {
            return &self.fleet;
        }
        // No list has version 0, so without a set the key is never 0. A fingerprint spreads over all
        // bits.
        let list = workers.version().get() << 2 | info.leg as u64;
        let key = list ^ info.eligible.map_or(0, WorkerSet::fingerprint);
        let slot = self.slot(key, 0);
        // Relaxed: see above.
        if slot.list.load(Ordering::Relaxed) == key { &slot.turn } else { self.search(key) }
    }

    #[inline]
    #[expect(clippy::indexing_slicing, clippy::cast_possible_truncation, reason = "masked by the length")]
    fn slot(&self, key: u64, probe: usize) -> &Slot {
        &self.slots[(key as usize).wrapping_add(probe) & (SLOTS - 1)]
    }

    /// The slot of a list that is new, or not where its key says.
    #[cold]
    fn search(&self, key: u64) -> &AtomicUsize {
        for slot in (0..PROBES).map(|probe| self.slot(key, probe)) {
            match slot.list.compare_exchange(0, key, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return self.begin(slot),
                Err(list) if list == key => return &slot.turn,
                Err(_) => {}
            }
        }
        // All are taken, mostly by tables that are gone. Takes one by chance, so that two lists in use
        // do not take the same slot from each other for ever.
        let slot = self.slot(key, fastrand::usize(..PROBES));
        slot.list.store(key, Ordering::Relaxed);
        self.begin(slot)
    }

    /// The first list begins with its first worker. Others begin anywhere: otherwise, if every request
    /// came with a new table, all of them would go to one worker.
    fn begin<'a>(&self, slot: &'a Slot) -> &'a AtomicUsize {
        if self.claimed.fetch_add(1, Ordering::Relaxed) > 0 {
            slot.turn.store(fastrand::u32(..) as usize, Ordering::Relaxed);
        }
        &slot.turn
    }
}
