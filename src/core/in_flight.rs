//! The guard that counts a request in flight.

use std::sync::Arc;

use crate::core::fleet_worker::FleetWorker;
use crate::core::signals::SignalChunk;
use crate::core::worker::Worker;

/// Counts one request in flight to a worker, from its creation until it is dropped.
///
/// It is made at the moment of the choice, so that concurrent decisions see each other.
#[derive(Debug)]
pub struct InFlight {
    counter: Counter,
}

/// Where the request is counted. The router's own workers need neither a virtual call nor a reference
/// count: their counters live for ever, and another worker gets one only when it is at zero.
#[derive(Debug)]
enum Counter {
    Slot(&'static SignalChunk, usize),
    Other(Arc<dyn Worker>),
}

impl InFlight {
    /// Counts a request to a worker of the router's table.
    #[inline]
    pub fn on_fleet(worker: &FleetWorker) -> Self {
        let (chunk, slot) = worker.slot();
        chunk.add_load(slot);
        Self { counter: Counter::Slot(chunk, slot) }
    }

    /// Counts a request to an embedder's worker.
    pub fn on_worker(worker: Arc<dyn Worker>) -> Self {
        worker.increment_load();
        Self { counter: Counter::Other(worker) }
    }
}

impl Drop for InFlight {
    #[inline]
    fn drop(&mut self) {
        match &self.counter {
            Counter::Slot(chunk, slot) => chunk.sub_load(*slot),
            Counter::Other(worker) => worker.decrement_load(),
        }
    }
}
