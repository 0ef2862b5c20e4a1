//! The workers that a fleet has now, whether its table shows them yet or not.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use crate::core::fleet_worker::FleetWorker;
use crate::core::worker::Worker;

/// Workers in the order of a table, found by their URLs.
#[derive(Debug, Default)]
pub(crate) struct CurrentWorkers {
    /// By the numbers of their slots, which no two of them share.
    in_order: BTreeMap<usize, Arc<FleetWorker>>,
    numbers: HashMap<String, usize>,
    /// Whether they are others than a table shows.
    has_changed: bool,
}

impl CurrentWorkers {
    /// The worker with this URL.
    pub(crate) fn get(&self, url: &str) -> Option<&Arc<FleetWorker>> {
        self.in_order.get(self.numbers.get(url)?)
    }

    /// Adds a worker, in the place of the one in its slot.
    pub(crate) fn insert(&mut self, worker: Arc<FleetWorker>) {
        let number = worker.number();
        self.has_changed = true;
        if self.in_order.insert(number, Arc::clone(&worker)).is_none() {
            self.numbers.insert(worker.url().to_owned(), number);
        }
    }

    /// Takes the worker with this URL out.
    pub(crate) fn remove(&mut self, url: &str) -> Option<Arc<FleetWorker>> {
        let number = self.numbers.remove(url)?;
        self.has_changed = true;
        self.in_order.remove(&number)
    }

    /// True if they are others than when this was asked before.
    pub(crate) fn have_changed(&mut self) -> bool {
        std::mem::take(&mut self.has_changed)
    }

    /// All of them, in the order of a table.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Arc<FleetWorker>> {
        self.in_order.values()
    }
}
