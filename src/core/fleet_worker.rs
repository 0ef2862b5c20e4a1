//! One worker of the router's own.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::Mutex;

use crate::core::book_page::move_average;
use crate::core::books;
use crate::core::books::BookNumbers;
use crate::core::engine_facts::EngineFacts;
use crate::core::moment;
use crate::core::report::WorkerReport;
use crate::core::signals::{CHUNK_SLOTS, SignalChunk};
use crate::core::slots::Slots;
use crate::core::worker::{Worker, WorkerSpec};
use crate::prefix_index::IndexedWorker;
use sgl_policy_abi::{Column, WorkerRole};

/// One worker of a [`crate::core::Fleet`].
#[derive(Debug)]
pub struct FleetWorker {
    spec: WorkerSpec,
    chunk: &'static SignalChunk,
    slot: usize,
    /// The position of the slot among all slots of the fleet.
    number: usize,
    /// Its place in the prefix index, as bits; 0 = none. Shared with those before it in the same slot.
    indexed: Arc<AtomicU64>,
    /// Set while the worker must get no new requests; its requests in flight go on.
    draining: AtomicBool,
    /// Set once the worker is removed: its slot may since belong to the same worker, added again.
    retired: AtomicBool,
    /// Shared with the fleet and its other workers: a table may outlive its fleet, and until then no
    /// other worker may get the slots of its workers.
    slots: Arc<Mutex<Slots>>,
}

impl FleetWorker {
    /// The static facts.
    pub fn spec(&self) -> &WorkerSpec {
        &self.spec
    }

    /// A worker in a slot that was taken for it.
    pub(crate) fn new(
        spec: WorkerSpec,
        chunk: &'static SignalChunk,
        slot: usize,
        slots: &Arc<Mutex<Slots>>,
    ) -> Self {
        let (chunks, within) = slots.lock().rank(chunk, slot);
        Self {
            spec,
            chunk,
            slot,
            number: chunks.saturating_mul(CHUNK_SLOTS).saturating_add(within),
            indexed: Arc::default(),
            draining: AtomicBool::new(false),
            retired: AtomicBool::new(false),
            slots: Arc::clone(slots),
        }
    }

    /// The worker that follows this one in the same slot, with other facts. It drains if this one does.
    /// This one touches the slot no more, which has one owner more.
    pub(crate) fn succeeded_by(&self, spec: WorkerSpec) -> Self {
        let mut next = Self::new(spec, self.chunk, self.slot, &self.slots);
        next.indexed = Arc::clone(&self.indexed);
        // Relaxed: see `is_draining`; whoever replaces a worker lets no other change run.
        next.draining.store(self.is_draining(), Ordering::Relaxed);
        // Relaxed: see `set_healthy`.
        self.retired.store(true, Ordering::Relaxed);
        next
    }

    pub(crate) fn slot(&self) -> (&'static SignalChunk, usize) {
        (self.chunk, self.slot)
    }

    /// The position of its slot among all slots of the fleet: no two workers of a table have the same, and a table
    /// is in the order of these.
    pub fn number(&self) -> usize {
        self.number
    }

    /// Its place in the fleet's prefix index; `None` while there is no index.
    #[inline]
    pub fn indexed(&self) -> Option<IndexedWorker> {
        // Relaxed: a place in an index that is gone, or is not there yet, is nobody's.
        IndexedWorker::from_bits(self.indexed.load(Ordering::Relaxed))
    }

    pub(crate) fn set_indexed(&self, place: Option<IndexedWorker>) {
        // Relaxed: see `indexed`; whoever changes the fleet or its index lets no other change run.
        self.indexed.store(place.map_or(0, IndexedWorker::to_bits), Ordering::Relaxed);
    }

    /// Sets whether it may be chosen. Does not affect requests in flight. A draining worker is still not
    /// chosen, and for a removed worker nothing happens.
    pub fn set_healthy(&self, healthy: bool) {
        // Relaxed: whoever removes a worker first lets a change that runs at that moment end.
        if self.retired.load(Ordering::Relaxed) {
            return;
        }
        self.chunk.set_healthy(self.slot, healthy && !self.is_draining());
    }

    /// True while it must get no new requests, whatever its health; its requests in flight go on.
    pub fn is_draining(&self) -> bool {
        // Relaxed: a health check that misses the change runs again soon.
        self.draining.load(Ordering::Relaxed)
    }

    pub(crate) fn drain(&self) {
        // Relaxed: see `is_draining`.
        self.draining.store(true, Ordering::Relaxed);
        self.set_healthy(false);
    }

    pub(crate) fn undrain(&self) {
        // Relaxed: see `is_draining`.
        self.draining.store(false, Ordering::Relaxed);
    }

    /// Marks the worker as removed: it is not chosen from older tables, and no longer touches its slot.
    pub(crate) fn retire(&self) {
        self.drain();
        // Relaxed: see `set_healthy`.
        self.retired.store(true, Ordering::Relaxed);
    }

    /// Stores what the worker reports, as old as it says, or of this moment. What the router measures
    /// stays.
    pub fn set_report(&self, report: &WorkerReport) {
        let heard = if report.is_silent() {
            Column::ReportAgeMs.unknown()
        } else {
            moment::before(moment::now(), report.report_age_ms)
        };
        self.chunk.store(Column::ReportAgeMs, self.slot, heard);
        for column in Column::ALL.into_iter().filter(|column| WorkerReport::is_said_by_worker(*column)) {
            self.chunk.store(column, self.slot, report.bits(column));
        }
    }

    /// Stores how many requests other routers have in flight to it; `None` if that is not known.
    pub fn set_load_elsewhere(&self, load: Option<u32>) {
        let known = load.map(|load| load.min(i32::MAX.cast_unsigned()));
        let bits = known.unwrap_or(Column::LoadElsewhere.unknown());
        self.chunk.store(Column::LoadElsewhere, self.slot, bits);
    }

    /// Moves the latency average towards a new time to first byte, in milliseconds, by a tenth
    /// of the difference. A concurrent update may be lost, which a moving average forgives.
    pub fn observe_latency(&self, milliseconds: f32) {
        move_average(self.chunk.cell(Column::LatencyEwma, self.slot), milliseconds);
    }
}

impl Worker for FleetWorker {
    fn url(&self) -> &str {
        &self.spec.url
    }

    #[inline]
    fn is_healthy(&self) -> bool {
        self.chunk.is_healthy(self.slot)
    }

    #[inline]
    fn load(&self) -> usize {
        self.chunk.load(Column::Load, self.slot) as usize
    }

    #[inline]
    fn increment_load(&self) {
        self.chunk.add_load(self.slot);
    }

    #[inline]
    fn decrement_load(&self) {
        self.chunk.sub_load(self.slot);
    }

    fn role(&self) -> WorkerRole {
        self.spec.role
    }

    fn model_id(&self) -> Option<&str> {
        self.spec.model.as_deref()
    }

    fn weight(&self) -> f64 {
        self.spec.weight
    }

    fn labels(&self) -> &BTreeMap<String, String> {
        &self.spec.labels
    }

    fn engine(&self) -> &EngineFacts {
        &self.spec.engine
    }

    fn report(&self) -> WorkerReport {
        WorkerReport::from_bits(|column| {
            let bits = self.chunk.load(column, self.slot);
            if moment::is_in(column) { moment::age(bits, moment::now()).cast_unsigned() } else { bits }
        })
    }

    fn book_numbers(&self) -> Option<BookNumbers> {
        books::are_kept().then(|| BookNumbers::from_bits(|column| self.chunk.load(column, self.slot)))
    }
}

impl Drop for FleetWorker {
    fn drop(&mut self) {
        // The last table is gone. Guards may still exist: the slot waits for them.
        self.slots.lock().give_back(self.chunk, self.slot);
    }
}
