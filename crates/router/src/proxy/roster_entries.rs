//! What the roster keeps of all workers, and which changes of it requests do not see yet.

use std::collections::HashMap;
use std::sync::Arc;

use crate::proxy::models::Known;
use crate::proxy::roster_entry::RosterEntry;
use crate::proxy::target::Target;
use sglang_router_rs::core::WorkerTable;

/// Most workers of a fleet of which each change is shown at once: a snapshot takes time in proportion to all of
/// them. Changes of a larger fleet are shown many at a time.
const SHOWN_AT_ONCE: usize = 256;

/// When requests are to see a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Showing {
    /// With a snapshot of its own.
    Now,
    /// With the next of many changes.
    Soon,
    /// When the batch ends that it belongs to.
    WithBatch,
}

/// All workers. What changes them says so ([`changed`](Self::changed)).
#[derive(Debug, Default)]
pub(crate) struct RosterEntries {
    pub(crate) by_url: HashMap<String, RosterEntry>,
    /// How many changes there were, and how many of them a snapshot shows.
    changes: u64,
    shown: u64,
    /// How many batches are under way.
    batches: usize,
    snapshots: u64,
}

impl RosterEntries {
    /// Something changed.
    pub(crate) fn changed(&mut self) -> Showing {
        self.changes += 1;
        match self.batches {
            0 if self.by_url.len() <= SHOWN_AT_ONCE => Showing::Now,
            0 => Showing::Soon,
            _ => Showing::WithBatch,
        }
    }

    /// How many changes there were.
    pub(crate) fn changes(&self) -> u64 {
        self.changes
    }

    /// How many snapshots showed them.
    pub(crate) fn snapshots(&self) -> u64 {
        self.snapshots
    }

    /// True if some change is to be shown, and no batch is under way that would show it.
    pub(crate) fn is_due(&self) -> bool {
        self.batches == 0 && self.shown < self.changes
    }

    /// A snapshot was made of what there is.
    pub(crate) fn were_shown(&mut self) {
        self.shown = self.changes;
        self.snapshots += 1;
    }

    /// Changes wait from now on until the batch ends, and all others that are under way.
    pub(crate) fn begin_batch(&mut self) {
        self.batches += 1;
    }

    /// Ends one.
    pub(crate) fn end_batch(&mut self) {
        self.batches = self.batches.saturating_sub(1);
    }

    /// The targets of a table that has all of them, and what is known of their models, in its order.
    pub(crate) fn in_order_of(&self, table: &WorkerTable) -> (Vec<Arc<Target>>, Vec<&Known>) {
        // By numbers: names of thousands of workers take long to find.
        let most = table.workers().last().map_or(0, |worker| worker.number() + 1);
        let mut candidates: Vec<Option<(&Arc<Target>, &Known)>> = vec![None; most];
        for entry in self.by_url.values() {
            for target in &entry.targets {
                if let Some(place) = candidates.get_mut(target.worker().number()) {
                    *place = Some((target, &entry.known));
                }
            }
        }
        candidates.into_iter().flatten().map(|(target, known)| (Arc::clone(target), known)).unzip()
    }
}
