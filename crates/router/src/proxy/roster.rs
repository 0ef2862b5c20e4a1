//! The workers that there are now: the fleet, a target for each, what is known of their models, and
//! the snapshot of it all that requests see.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::sync::futures::Notified;

use crate::config::checked::OwnSettings;
use crate::proxy::models::{Known, Listing};
use crate::proxy::queue::RequestQueue;
use crate::proxy::snapshot::Snapshot;
use crate::proxy::target::Target;
use sglang_router_rs::core::{
    EngineFacts, Fleet, FleetError, FleetWorker, PrefixIndexLimits, Worker, WorkerSpec,
};
use sglang_router_rs::policies::FleetNeeds;
use sglang_router_rs::prefix_index::PrefixIndex;

/// Who is there. The keepers of workers write to it; [`crate::proxy::Backends`] owns them.
///
/// # Concurrency
///
/// Changes take one lock; requests load the current snapshot and take none.
#[derive(Debug)]
pub struct Roster {
    fleet: Fleet,
    snapshot: ArcSwap<Snapshot>,
    entries: Mutex<HashMap<String, RosterEntry>>,
    /// Whether workers are asked for their models.
    learns: bool,
    deaths: AtomicU64,
    judged: Notify,
    queue: Arc<RequestQueue>,
    /// Whether somebody wants to hear at once what workers say of their load.
    wants_reports: AtomicBool,
}

#[derive(Debug)]
struct RosterEntry {
    target: Arc<Target>,
    known: Known,
}

impl Roster {
    /// No workers yet; `learns` says whether they will be asked for their models. `queue` hears of
    /// changes.
    pub fn new(learns: bool, limits: PrefixIndexLimits, queue: Arc<RequestQueue>) -> Self {
        let fleet = Fleet::with_prefix_index(limits);
        let snapshot = ArcSwap::from_pointee(Snapshot::new(fleet.table(), Vec::new(), &[], learns));
        Self {
            fleet,
            snapshot,
            entries: Mutex::default(),
            learns,
            deaths: AtomicU64::new(0),
            judged: Notify::new(),
            queue,
            wants_reports: AtomicBool::new(false),
        }
    }

    /// The workers now.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.snapshot.load_full()
    }

    /// Adds a worker, healthy from the start if `healthy`, with the target that `make` makes.
    ///
    /// # Errors
    ///
    /// [`FleetError`] if its URL is in use.
    pub fn add(
        &self,
        spec: WorkerSpec,
        healthy: bool,
        make: impl FnOnce(Arc<FleetWorker>) -> Target,
    ) -> Result<Arc<Target>, FleetError> {
        let mut entries = self.entries.lock();
        let worker = self.fleet.add(spec, healthy)?;
        let known = Known { configured: worker.spec().model.clone(), listing: None };
        let target = Arc::new(make(worker));
        let entry = RosterEntry { target: Arc::clone(&target), known };
        let previous = entries.insert(target.worker().url().to_owned(), entry);
        debug_assert!(previous.is_none(), "the fleet refuses duplicates");
        self.publish(&entries);
        Ok(target)
    }

    /// Marks a worker as draining. `None` if it is not there.
    pub fn drain(&self, url: &str) -> Option<Arc<Target>> {
        let entries = self.entries.lock();
        self.fleet.drain(url)?;
        let target = Arc::clone(&entries.get(url)?.target);
        // A health check that ran at the same moment may have set the bit again.
        target.refresh();
        self.queue.workers_changed();
        Some(target)
    }

    /// Marks a worker as not draining any more: it may be chosen if it is well. `None` if it is not there.
    pub fn undrain(&self, url: &str) -> Option<Arc<Target>> {
        let entries = self.entries.lock();
        self.fleet.undrain(url)?;
        let target = Arc::clone(&entries.get(url)?.target);
        target.refresh();
        Some(target)
    }

    /// Gives a worker other facts and settings; all else of it goes on, also what was learnt of its engine.
    /// `None` if it is not there.
    pub fn replace(&self, mut spec: WorkerSpec, own: OwnSettings) -> Option<Arc<Target>> {
        let mut entries = self.entries.lock();
        let entry = entries.get_mut(&spec.url)?;
        spec.engine.clone_from(entry.target.worker().engine());
        let worker = self.fleet.replace(spec)?;
        entry.known.configured.clone_from(&worker.spec().model);
        entry.target = Arc::new(entry.target.succeeded_by(worker, own));
        let target = Arc::clone(&entry.target);
        self.publish(&entries);
        Some(target)
    }

    /// Takes a worker out. `None` if it is not there.
    pub fn remove(&self, url: &str) -> Option<Arc<Target>> {
        let mut entries = self.entries.lock();
        self.fleet.remove(url)?;
        let removed = entries.remove(url)?;
        // Ends a change of its health that runs at the same moment, before it can be added again.
        removed.target.refresh();
        self.publish(&entries);
        Some(removed.target)
    }

    /// A worker, and what is known of its models. `None` if it is not there.
    pub fn find(&self, url: &str) -> Option<(Arc<Target>, Known)> {
        let entries = self.entries.lock();
        entries.get(url).map(|entry| (Arc::clone(&entry.target), entry.known.clone()))
    }

    /// Checks have found that a worker passes from now on, or does not.
    pub fn judge(&self) {
        self.judged.notify_waiters();
    }

    /// Ends when checks find the next time that a worker passes, or does not; from this call on none
    /// is missed.
    pub fn judged(&self) -> Notified<'_> {
        self.judged.notified()
    }

    /// Keeps up from now on what is needed of workers, and nothing else. The index that is not needed any
    /// more, for the caller to let go of where that may take long.
    pub fn serve(&self, needs: FleetNeeds) -> Option<Arc<PrefixIndex>> {
        // Relaxed: who listens looks again and again.
        self.wants_reports.store(needs.reports, Ordering::Relaxed);
        if needs.prefixes {
            self.fleet.start_prefix_index();
            return None;
        }
        self.fleet.stop_prefix_index()
    }

    /// True if somebody wants to hear at once what workers say of their load.
    pub fn wants_reports(&self) -> bool {
        // Relaxed: see `serve`.
        self.wants_reports.load(Ordering::Relaxed)
    }

    /// The index of what workers hold, if it runs. Nobody keeps it: it is to go when nobody wants it.
    pub fn prefix_index(&self) -> Option<Arc<PrefixIndex>> {
        self.fleet.prefix_index()
    }

    /// True if that index runs.
    pub fn has_prefix_index(&self) -> bool {
        self.fleet.has_prefix_index()
    }

    /// Starts that index, unless it runs or must not.
    pub fn start_prefix_index(&self) {
        self.fleet.start_prefix_index();
    }

    /// The worker started anew, and holds nothing.
    pub fn forget_prefixes(&self, worker: &FleetWorker) {
        self.fleet.forget_prefixes(worker);
    }

    /// A worker was found dead, also one that was removed and that requests still wait for.
    pub fn found_dead(&self) {
        // Release: who reads the number sees the worker's own.
        self.deaths.fetch_add(1, Ordering::Release);
    }

    /// How often a worker was found dead, over all that there are and ever were.
    pub fn deaths(&self) -> u64 {
        // Acquire: see `found_dead`.
        self.deaths.load(Ordering::Acquire)
    }

    /// A worker says which models it has; nothing if it is gone.
    pub fn learn(&self, url: &str, listing: Listing) {
        let mut entries = self.entries.lock();
        let Some(entry) = entries.get_mut(url) else { return };
        if entry.known.listing.as_ref().is_some_and(|known| known.says_the_same(&listing)) {
            return;
        }
        tracing::debug!(worker = url, models = listing.cards().len(), "models learnt");
        entry.known.listing = Some(Arc::new(listing));
        if entry.known.differs() {
            let configured = entry.known.configured.as_deref();
            let cards = entry.known.listing.iter().flat_map(|listing| listing.cards());
            let listed: Vec<&str> = cards.map(|card| card.id()).take(5).collect();
            let found = format!("{listed:?}");
            tracing::warn!(
                worker = url,
                configured,
                found,
                "lists other models than its `model`, which counts"
            );
        }
        self.publish(&entries);
    }

    /// A worker says of what engine it is: a new table, if that is news. Nothing if it is gone.
    pub fn learn_engine(&self, url: &str, facts: &EngineFacts) {
        let mut entries = self.entries.lock();
        let Some(entry) = entries.get_mut(url) else { return };
        let spec = entry.target.worker().spec();
        if spec.engine == *facts {
            return;
        }
        tracing::debug!(worker = url, ?facts, "facts of its engine learnt");
        let spec = WorkerSpec { engine: facts.clone(), ..spec.clone() };
        let Some(worker) = self.fleet.replace(spec) else { return };
        entry.target = Arc::new(entry.target.succeeded_by(worker, entry.target.own()));
        self.publish(&entries);
    }

    /// Whose models it serves, by its own list: engines name themselves there.
    pub fn owner(&self, url: &str) -> Option<String> {
        let entries = self.entries.lock();
        let card = entries.get(url)?.known.listing.as_ref()?.cards().first()?;
        Some(card.shown().get("owned_by")?.as_str()?.to_owned())
    }

    fn publish(&self, entries: &HashMap<String, RosterEntry>) {
        let table = self.fleet.table();
        let entries = table.workers().iter().filter_map(|worker| entries.get(worker.url()));
        let (targets, known): (Vec<_>, Vec<_>) =
            entries.map(|entry| (Arc::clone(&entry.target), entry.known.clone())).unzip();
        debug_assert_eq!(targets.len(), table.workers().len());
        self.snapshot.store(Arc::new(Snapshot::new(table, targets, &known, self.learns)));
        self.queue.workers_changed();
    }
}
