//! The router's own workers: who owns them, and which table is current.

use std::sync::Arc;

use arc_swap::ArcSwap;
use parking_lot::Mutex;

use crate::core::current_workers::CurrentWorkers;
use crate::core::fleet_prefixes::{FleetPrefixes, PrefixIndexLimits};
use crate::core::fleet_worker::FleetWorker;
use crate::core::slots::Slots;
use crate::core::table::WorkerTable;
use crate::core::worker::WorkerSpec;
use crate::prefix_index::PrefixIndex;

/// Why a worker could not be added.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum FleetError {
    /// The URL is in use.
    #[error("worker {url} is already there; remove it first to add it with other settings")]
    Duplicate {
        /// The given URL.
        url: String,
    },
}

/// The router's workers and the current table of them.
///
/// # Concurrency
///
/// Changes take one lock; readers load an `ArcSwap` and take none. Lock order: `changes`, then `slots`.
/// Tables are made and dropped outside `slots`, because the drop of a worker's last table gives its slot
/// back.
#[derive(Debug)]
pub struct Fleet {
    table: ArcSwap<WorkerTable>,
    changes: Mutex<CurrentWorkers>,
    /// Whether a change waits for [`publish`](Self::publish): a table takes time in proportion to all workers, so that
    /// many changes are to have one in common.
    is_published_by_hand: bool,
    slots: Arc<Mutex<Slots>>,
    prefixes: Arc<FleetPrefixes>,
}

impl Default for Fleet {
    fn default() -> Self {
        Self::new()
    }
}

impl Fleet {
    /// A fleet without workers.
    pub fn new() -> Self {
        Self::with_prefix_index(PrefixIndexLimits::default())
    }

    /// A fleet without workers whose prefix index, if it gets one, has these bounds.
    pub fn with_prefix_index(limits: PrefixIndexLimits) -> Self {
        Self::open(limits, false)
    }

    /// The same, but its [`table`](Self::table) stays as it is until [`publish`](Self::publish): for whoever
    /// makes many changes at a time. A worker that is removed is not healthy from then on in any table.
    pub fn published_by_hand(limits: PrefixIndexLimits) -> Self {
        Self::open(limits, true)
    }

    fn open(limits: PrefixIndexLimits, is_published_by_hand: bool) -> Self {
        let prefixes = Arc::new(FleetPrefixes::new(limits));
        Self {
            table: ArcSwap::from_pointee(WorkerTable::new(Vec::new(), &prefixes)),
            changes: Mutex::default(),
            is_published_by_hand,
            slots: Arc::default(),
            prefixes,
        }
    }

    /// The index of what its workers hold, if it runs. Whoever keeps it keeps its memory.
    pub fn prefix_index(&self) -> Option<Arc<PrefixIndex>> {
        self.prefixes.kept()
    }

    /// True if that index runs.
    #[inline]
    pub fn has_prefix_index(&self) -> bool {
        self.prefixes.get().is_some()
    }

    /// Starts the index of what its workers hold, unless it runs or its bounds forbid it. Until then the
    /// input `prefix_match` is unknown, and it costs nothing.
    pub fn start_prefix_index(&self) {
        if self.has_prefix_index() {
            return;
        }
        let current = self.changes.lock();
        if !self.has_prefix_index() && self.prefixes.start() {
            current.iter().for_each(|worker| self.prefixes.enter(worker));
        }
    }

    /// Ends the index: its memory is given back when the last one who is at it lets go of it, perhaps the caller.
    /// `None` if it did not run.
    pub fn stop_prefix_index(&self) -> Option<Arc<PrefixIndex>> {
        let current = self.changes.lock();
        let stopped = self.prefixes.stop()?;
        current.iter().for_each(|worker| worker.set_indexed(None));
        Some(stopped)
    }

    /// The worker started anew: whatever it held is gone.
    pub fn forget_prefixes(&self, worker: &FleetWorker) {
        if let (Some(index), Some(place)) = (&*self.prefixes.get(), worker.indexed()) {
            index.cleared(place);
        }
    }

    /// The current table. It may be kept: it goes on naming the same workers.
    ///
    /// This writes a shared reference count; on a decision path use [`Fleet::load`].
    pub fn table(&self) -> Arc<WorkerTable> {
        self.table.load_full()
    }

    /// The current table under a guard that writes nothing shared. Must not be held across an await.
    #[inline]
    pub fn load(&self) -> arc_swap::Guard<Arc<WorkerTable>> {
        self.table.load()
    }

    /// Adds a worker, healthy from the start if `healthy`.
    ///
    /// # Errors
    ///
    /// [`FleetError::Duplicate`] if a worker with this URL is there.
    pub fn add(&self, spec: WorkerSpec, healthy: bool) -> Result<Arc<FleetWorker>, FleetError> {
        let mut current = self.changes.lock();
        if current.get(&spec.url).is_some() {
            return Err(FleetError::Duplicate { url: spec.url });
        }
        let (chunk, slot) = self.slots.lock().take(&spec.url);
        chunk.set_healthy(slot, healthy);
        let worker = Arc::new(FleetWorker::new(spec, chunk, slot, &self.slots));
        self.prefixes.enter(&worker);
        current.insert(Arc::clone(&worker));
        self.changed(&mut current);
        Ok(worker)
    }

    /// Takes a worker out of the table. Its requests in flight go on, and count again if it is added
    /// again before they have ended. `None` if it was not there.
    pub fn remove(&self, url: &str) -> Option<Arc<FleetWorker>> {
        let mut current = self.changes.lock();
        let removed = current.remove(url)?;
        removed.retire();
        let (chunk, slot) = removed.slot();
        self.slots.lock().leave(url, chunk, slot);
        self.changed(&mut current);
        if let (Some(index), Some(place)) = (&*self.prefixes.get(), removed.indexed()) {
            index.left(place);
        }
        Some(removed)
    }

    /// Gives the worker with the URL of `spec` other facts. It keeps its place in the table, its health,
    /// its numbers and its requests in flight, and goes on draining if it was. `None` if it is not
    /// there.
    pub fn replace(&self, spec: WorkerSpec) -> Option<Arc<FleetWorker>> {
        let mut current = self.changes.lock();
        let before = current.get(&spec.url)?;
        let (chunk, slot) = before.slot();
        self.slots.lock().share(chunk, slot);
        let worker = Arc::new(before.succeeded_by(spec));
        self.prefixes.fit(&worker);
        current.insert(Arc::clone(&worker));
        self.changed(&mut current);
        Some(worker)
    }

    /// Marks a worker as draining, so that it is not chosen. `None` if it is not there.
    pub fn drain(&self, url: &str) -> Option<Arc<FleetWorker>> {
        let worker = Arc::clone(self.changes.lock().get(url)?);
        worker.drain();
        Some(worker)
    }

    /// Ends that; [`FleetWorker::set_healthy`] says whether it may be chosen. `None` if it is not there.
    pub fn undrain(&self, url: &str) -> Option<Arc<FleetWorker>> {
        let worker = Arc::clone(self.changes.lock().get(url)?);
        worker.undrain();
        Some(worker)
    }

    /// Makes a table of the workers as they are now, which is the current one from then on; nothing if they are
    /// those of the current one.
    pub fn publish(&self) {
        self.show(&mut self.changes.lock());
    }

    fn changed(&self, current: &mut CurrentWorkers) {
        if !self.is_published_by_hand {
            self.show(current);
        }
    }

    fn show(&self, current: &mut CurrentWorkers) {
        if current.have_changed() {
            let workers = current.iter().cloned().collect();
            self.table.store(Arc::new(WorkerTable::new(workers, &self.prefixes)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::candidate_workers::CandidateWorkers;
    use crate::core::in_flight::InFlight;
    use crate::core::worker::Worker;
    use sgl_policy_abi::Column;

    fn fleet(count: usize) -> Fleet {
        let fleet = Fleet::new();
        for i in 0..count {
            fleet.add(WorkerSpec::new(format!("http://w{i}")), true).unwrap();
        }
        fleet
    }

    fn loads(table: &WorkerTable) -> Vec<i32> {
        let mut bytes = vec![0; table.len() * Column::WIDTH];
        table.fill(Column::Load, &mut bytes);
        bytes.chunks_exact(4).map(|b| i32::from_le_bytes(b.try_into().unwrap())).collect()
    }

    #[test]
    fn url_is_unique_in_a_fleet() {
        let fleet = fleet(1);
        let again = fleet.add(WorkerSpec::new("http://w0"), true).unwrap_err();
        assert_eq!(again, FleetError::Duplicate { url: "http://w0".into() });
    }

    #[test]
    fn guard_counts_in_the_next_table_too_when_the_fleet_changes_meanwhile() {
        let fleet = fleet(3);
        let guard = InFlight::on_fleet(&fleet.table().workers()[2]);
        fleet.remove("http://w0").unwrap();
        assert_eq!(loads(&fleet.table()), [0, 1]);
        drop(guard);
        assert_eq!(loads(&fleet.table()), [0, 0]);
    }

    #[test]
    fn slot_is_used_again_only_after_its_last_guard_is_gone() {
        let fleet = fleet(2);
        let guard = InFlight::on_fleet(&fleet.table().workers()[0]);
        fleet.remove("http://w0").unwrap();
        fleet.add(WorkerSpec::new("http://w2"), true).unwrap();
        assert_eq!(loads(&fleet.table()), [0, 0], "the new worker must not inherit a request");
        drop(guard);
        fleet.add(WorkerSpec::new("http://w3"), true).unwrap();
        let order: Vec<String> = fleet.table().workers().iter().map(|w| w.url().to_owned()).collect();
        assert_eq!(order, ["http://w3", "http://w1", "http://w2"]);
    }

    #[test]
    fn worker_that_comes_back_counts_its_requests_of_before_as_often_as_it_comes() {
        let fleet = fleet(2);
        let mut guards = vec![InFlight::on_fleet(&fleet.table().workers()[0])];
        for round in 1..4 {
            let held = (round == 2).then(|| fleet.table());
            fleet.remove("http://w0").unwrap();
            fleet.add(WorkerSpec::new(format!("http://other{round}")), true).unwrap();
            drop(held);
            let back = fleet.add(WorkerSpec::new("http://w0"), true).unwrap();
            assert_eq!((back.load(), back.is_healthy()), (round, true));
            guards.push(InFlight::on_fleet(&back));
        }
        let back = fleet.remove("http://w0").unwrap();
        drop(guards);
        assert_eq!(back.load(), 0);
        let other = fleet.add(WorkerSpec::new("http://w9"), true).unwrap();
        other.increment_load();
        assert_eq!(fleet.add(WorkerSpec::new("http://w0"), true).unwrap().load(), 0, "not another's");
    }

    #[test]
    fn worker_that_was_removed_does_not_speak_for_the_one_that_came_back() {
        let fleet = fleet(1);
        let before = Arc::clone(&fleet.table().workers()[0]);
        let _guard = InFlight::on_fleet(&before);
        fleet.remove("http://w0").unwrap();
        assert!(!before.is_healthy(), "nobody chooses it from an older table");
        let back = fleet.add(WorkerSpec::new("http://w0"), true).unwrap();
        before.set_healthy(false);
        assert!(back.is_healthy());
        back.set_healthy(false);
        before.set_healthy(true);
        assert!(!back.is_healthy());
    }

    #[test]
    fn worker_that_is_replaced_keeps_its_place_its_health_and_its_numbers() {
        let fleet = fleet(3);
        let before = fleet.table();
        let guard = InFlight::on_fleet(&before.workers()[1]);
        before.workers()[1].observe_latency(7.0);
        let spec = WorkerSpec { weight: 2.0, ..WorkerSpec::new("http://w1") };
        let worker = fleet.replace(spec).unwrap();
        let table = fleet.table();
        assert!(table.version() != before.version() && Arc::ptr_eq(&table.workers()[1], &worker));
        assert_eq!((worker.weight(), worker.load(), worker.report().latency_ewma), (2.0, 1, 7.0));
        assert!(worker.is_healthy() && before.workers()[1].is_healthy());
        before.workers()[1].set_healthy(false);
        assert!(worker.is_healthy(), "the one before does not speak for it");
        drop((guard, before));
        assert_eq!(worker.load(), 0);
        fleet.add(WorkerSpec::new("http://other"), true).unwrap();
        assert_eq!(fleet.table().position("http://w1"), Some(1), "its slot is still its own");
        assert!(fleet.replace(WorkerSpec::new("http://none")).is_none());
    }

    #[test]
    fn draining_worker_goes_on_draining_when_it_is_replaced() {
        let fleet = fleet(1);
        fleet.drain("http://w0").unwrap();
        let worker = fleet.replace(WorkerSpec::new("http://w0")).unwrap();
        worker.set_healthy(true);
        assert!(worker.is_draining() && !fleet.table().is_healthy(0));
    }

    #[test]
    fn table_that_outlives_its_fleet_shares_its_numbers_with_no_other() {
        let table = fleet(2).table();
        let others: Vec<_> = (0..8).map(|_| fleet(2)).collect();
        others.iter().for_each(|other| other.table().workers()[0].set_healthy(false));
        assert!(table.is_healthy(0));
    }

    #[test]
    fn health_bits_are_the_same_in_bulk_and_one_by_one_when_slots_have_holes() {
        let fleet = fleet(200);
        let table = fleet.table();
        for i in (0..200).step_by(3) {
            table.get(table.position(&format!("http://w{i}")).unwrap()).unwrap().set_healthy(false);
        }
        for gone in [5, 64, 65, 130] {
            fleet.remove(&format!("http://w{gone}")).unwrap();
        }
        let table = fleet.table();
        let mut bits = vec![0xff; table.len().div_ceil(8)];
        bits.fill(0);
        table.fill_healthy(&mut bits);
        for i in 0..table.len() {
            assert_eq!(bits[i / 8] & (1 << (i % 8)) != 0, table.is_healthy(i), "worker {i}");
        }
    }

    #[test]
    fn health_bits_beyond_the_last_worker_are_zero() {
        let mut bits = [0; 2];
        fleet(11).table().fill_healthy(&mut bits);
        assert_eq!(bits, [0xff, 0b111]);
    }

    #[test]
    fn fleet_published_by_hand_shows_many_changes_in_one_table() {
        let fleet = Fleet::published_by_hand(PrefixIndexLimits::default());
        let urls = |fleet: &Fleet| -> Vec<String> {
            fleet.table().workers().iter().map(|worker| worker.url().to_owned()).collect()
        };
        for i in 0..3 {
            fleet.add(WorkerSpec::new(format!("http://w{i}")), true).unwrap();
        }
        let again = fleet.add(WorkerSpec::new("http://w1"), true).unwrap_err();
        assert_eq!(again, FleetError::Duplicate { url: "http://w1".into() }, "it is there, shown or not");
        assert!(urls(&fleet).is_empty());
        fleet.publish();
        assert_eq!(urls(&fleet), ["http://w0", "http://w1", "http://w2"]);
        let before = fleet.table();
        fleet.publish();
        assert!(Arc::ptr_eq(&fleet.table(), &before), "nothing is new");
        let gone = fleet.remove("http://w0").unwrap();
        fleet.replace(WorkerSpec { weight: 3.0, ..WorkerSpec::new("http://w2") }).unwrap();
        fleet.add(WorkerSpec::new("http://w3"), true).unwrap();
        assert!(fleet.drain("http://w3").unwrap().is_draining(), "it is known before it is shown");
        assert!(Arc::ptr_eq(&fleet.table(), &before) && !gone.is_healthy() && before.is_healthy(1));
        fleet.publish();
        assert_eq!(urls(&fleet), ["http://w1", "http://w2", "http://w3"]);
        assert_eq!(fleet.table().workers()[1].weight(), 3.0);
    }

    #[test]
    fn draining_worker_stays_out_when_a_health_check_passes() {
        let fleet = fleet(1);
        fleet.drain("http://w0").unwrap().set_healthy(true);
        assert!(!fleet.table().is_healthy(0));
    }
}
