//! Where requests go to at a worker, as policies choose it: all of the worker, or one data-parallel rank.

use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use http::HeaderValue;
use parking_lot::Mutex;

use crate::proxy::circuit::Circuit;
use crate::proxy::endpoint::{Endpoint, LeadsHere};
use crate::proxy::fullness::Fullness;
use crate::proxy::token_tally::TokenTally;
use crate::proxy::verdict::Verdict;
use sglang_router_rs::core::{FleetWorker, Worker};

/// A candidate with its circuit, its room and its counters: all that stays true when the configuration says
/// something else of its worker. An engine whose ranks are candidates of their own has several, which share
/// its [`Endpoint`].
///
/// # Concurrency
///
/// The `healthy` bit that policies see is the conjunction of four things that change on their
/// own: health checks pass, the circuit admits, it is not passed over as full, it is not draining.
/// Whoever changes one of them calls [`refresh`](Self::refresh), which works the bit out anew under
/// a lock, so that the last change always counts.
#[derive(Debug)]
pub struct Entrance {
    /// Whose bit it is: the worker that is in the table, or was last.
    worker: Mutex<Arc<FleetWorker>>,
    endpoint: Arc<Endpoint>,
    name: HeaderValue,
    circuit: Circuit,
    fullness: Fullness,
    verdicts: [AtomicU64; Verdict::ALL.len()],
    tokens: TokenTally,
}

impl Entrance {
    /// To this candidate of the fleet, which is behind this endpoint.
    pub fn new(worker: Arc<FleetWorker>, endpoint: &Arc<Endpoint>) -> Arc<Self> {
        let entrance = Arc::new(Self {
            name: HeaderValue::from_str(worker.url()).unwrap_or(HeaderValue::from_static("invalid")),
            worker: Mutex::new(worker),
            circuit: Circuit::new(endpoint.circuit_settings().clone()),
            endpoint: Arc::clone(endpoint),
            fullness: Fullness::default(),
            verdicts: [const { AtomicU64::new(0) }; Verdict::ALL.len()],
            tokens: TokenTally::default(),
        });
        endpoint.opened(Arc::<Self>::clone(&entrance));
        entrance
    }

    /// From now on it is this worker's, which has the numbers of the one before.
    pub fn hand_over(&self, worker: Arc<FleetWorker>) {
        *self.worker.lock() = worker;
        self.refresh();
    }

    /// Works out anew whether policies may choose it.
    pub fn refresh(&self) {
        LeadsHere::refresh(self);
    }

    /// Requests in flight to it.
    pub fn load(&self) -> usize {
        LeadsHere::load(self)
    }

    /// What it leads to.
    pub fn endpoint(&self) -> &Arc<Endpoint> {
        &self.endpoint
    }

    /// Its name, as a header: the URL, and the rank.
    pub fn name(&self) -> &HeaderValue {
        &self.name
    }

    /// Its circuit.
    pub fn circuit(&self) -> &Circuit {
        &self.circuit
    }

    /// Whether it has room.
    pub fn fullness(&self) -> &Fullness {
        &self.fullness
    }

    /// True if its worker's health checks pass and its circuit admits.
    pub fn is_well(&self) -> bool {
        self.is_passing() && self.circuit.admits()
    }

    /// Keeps the `healthy` bit right where time alone changes it: an open circuit that lets a probe
    /// through, a full worker that may have room again. For one caller, for ever.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost.
    pub async fn recover(&self) {
        loop {
            tokio::select! {
                () = self.circuit.half_opened() => {
                    let worker = self.name.to_str().unwrap_or_default();
                    tracing::info!(worker, "circuit breaker: ready for a probe");
                }
                () = self.fullness.over() => {}
            }
            self.refresh();
        }
    }

    /// Counts what came of a request.
    pub fn count(&self, verdict: Verdict) {
        if let Some(counter) = self.verdicts.get(verdict as usize) {
            // Relaxed: a counter.
            counter.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// How many requests came to this, over all that were sent to it.
    pub fn counted(&self, verdict: Verdict) -> u64 {
        // Relaxed: a counter.
        self.verdicts.get(verdict as usize).map_or(0, |counter| counter.load(Ordering::Relaxed))
    }

    /// The tokens that it took.
    pub fn tokens(&self) -> &TokenTally {
        &self.tokens
    }

    /// Requests that it did its part for, and that it failed.
    pub fn outcomes(&self) -> (u64, u64) {
        let well = self.counted(Verdict::Served) + self.counted(Verdict::Refused);
        (well, self.counted(Verdict::Failed))
    }
}

impl LeadsHere for Entrance {
    fn refresh(&self) {
        let has_changed = {
            let worker = self.worker.lock();
            let before = worker.is_healthy();
            worker.set_healthy(self.is_well() && !self.fullness.is_passed_over());
            worker.is_healthy() != before
        };
        if has_changed {
            self.endpoint.queue().workers_changed();
        }
    }

    fn load(&self) -> usize {
        self.worker.lock().load()
    }
}

impl Deref for Entrance {
    type Target = Endpoint;

    fn deref(&self) -> &Endpoint {
        &self.endpoint
    }
}
