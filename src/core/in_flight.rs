//! The guard that counts a request in flight.

use std::sync::Arc;

use crate::core::fleet_worker::FleetWorker;
use crate::core::worker::Worker;

/// Counts one request in flight to a worker, from its making until it is dropped.
///
/// It is made at the moment of the choice, so that concurrent decisions see each other.
#[derive(Debug)]
pub struct InFlight {
    worker: Target,
}

/// Two kinds, so that the router's own workers are counted without a virtual call.
#[derive(Debug)]
enum Target {
    Fleet(Arc<FleetWorker>),
    Other(Arc<dyn Worker>),
}

impl InFlight {
    /// Counts a request to a worker of the router's table.
    #[inline]
    pub fn on_fleet(worker: Arc<FleetWorker>) -> Self {
        worker.increment_load();
        Self { worker: Target::Fleet(worker) }
    }

    /// Counts a request to an embedder's worker.
    pub fn on_worker(worker: Arc<dyn Worker>) -> Self {
        worker.increment_load();
        Self { worker: Target::Other(worker) }
    }

    /// The worker that the request goes to.
    pub fn worker(&self) -> &dyn Worker {
        match &self.worker {
            Target::Fleet(worker) => &**worker,
            Target::Other(worker) => &**worker,
        }
    }

    /// The worker, if it is one of the router's own.
    pub fn fleet_worker(&self) -> Option<&Arc<FleetWorker>> {
        match &self.worker {
            Target::Fleet(worker) => Some(worker),
            Target::Other(_) => None,
        }
    }
}

impl Drop for InFlight {
    #[inline]
    fn drop(&mut self) {
        match &self.worker {
            Target::Fleet(worker) => worker.decrement_load(),
            Target::Other(worker) => worker.decrement_load(),
        }
    }
}
