//! The snapshot that requests see, and who waits for the next.

use std::sync::Arc;

use arc_swap::ArcSwap;
use tokio::sync::{Notify, watch};

use crate::proxy::queue::RequestQueue;
use crate::proxy::roster_entries::{RosterEntries, Showing};
use crate::proxy::snapshot::Snapshot;
use sglang_router_rs::core::Fleet;

/// The snapshot that requests see.
#[derive(Debug)]
pub(crate) struct SnapshotBoard {
    snapshot: ArcSwap<Snapshot>,
    /// Whether workers are asked for their models.
    learns: bool,
    /// How many changes are in it.
    shown: watch::Sender<u64>,
    /// Some wait for the next.
    waits: Notify,
    queue: Arc<RequestQueue>,
}

impl SnapshotBoard {
    /// Of a fleet without workers; `learns` says whether they will be asked for their models. `queue` hears of
    /// snapshots.
    pub(crate) fn new(learns: bool, fleet: &Fleet, queue: Arc<RequestQueue>) -> Self {
        let snapshot = ArcSwap::from_pointee(Snapshot::new(fleet.table(), Vec::new(), &[], learns));
        Self { snapshot, learns, shown: watch::Sender::new(0), waits: Notify::new(), queue }
    }

    /// The one that requests see now.
    pub(crate) fn snapshot(&self) -> Arc<Snapshot> {
        self.snapshot.load_full()
    }

    /// Something changed: shows it at once, or has it wait for others.
    pub(crate) fn changed(&self, entries: &mut RosterEntries, fleet: &Fleet) {
        match entries.changed() {
            Showing::Now => self.show(entries, fleet),
            Showing::Soon => self.waits.notify_one(),
            Showing::WithBatch => {}
        }
    }

    /// Shows what there is.
    pub(crate) fn show(&self, entries: &mut RosterEntries, fleet: &Fleet) {
        fleet.publish();
        let table = fleet.table();
        let (targets, known) = entries.in_order_of(&table);
        debug_assert_eq!(targets.len(), table.workers().len());
        let snapshot = Snapshot::new(table, targets, &known, self.learns);
        self.snapshot.store(Arc::new(snapshot));
        entries.were_shown();
        self.shown.send_replace(entries.changes());
        self.queue.workers_changed();
    }

    /// Shows what waits for that.
    pub(crate) fn show_due(&self, entries: &mut RosterEntries, fleet: &Fleet) {
        if entries.is_due() {
            self.show(entries, fleet);
        }
    }

    /// Waits until so many changes are shown.
    pub(crate) async fn shown(&self, changes: u64) {
        // The sender lives as long as this.
        let _ = self.shown.subscribe().wait_for(|shown| *shown >= changes).await;
    }

    /// Waits until a change waits for others.
    pub(crate) async fn waits(&self) {
        self.waits.notified().await;
    }
}
