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
use crate::proxy::endpoint::Endpoint;
use crate::proxy::entrance::Entrance;
use crate::proxy::models::{Known, Listing};
use crate::proxy::queue::RequestQueue;
use crate::proxy::rank::{RankLayout, RankMark};
use crate::proxy::roster_entry::RosterEntry;
use crate::proxy::snapshot::Snapshot;
use crate::proxy::target::Target;
use sglang_router_rs::core::{
    EngineFacts, Fleet, FleetError, PrefixIndexLimits, Worker, WorkerReport, WorkerSpec,
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

    /// Adds a worker, healthy from the start if `healthy`, at this endpoint. At first all of it is one candidate.
    ///
    /// # Errors
    ///
    /// [`FleetError`] if its URL is in use.
    pub fn add(
        &self,
        spec: WorkerSpec,
        healthy: bool,
        own: OwnSettings,
        endpoint: &Arc<Endpoint>,
    ) -> Result<Arc<Target>, FleetError> {
        let mut entries = self.entries.lock();
        // The fleet does not know the URL of one that is laid out in ranks.
        if entries.contains_key(&spec.url) {
            return Err(FleetError::Duplicate { url: spec.url });
        }
        let worker = self.fleet.add(spec.clone(), healthy)?;
        let known = Known { configured: spec.model.clone(), listing: None };
        let entrance = Entrance::new(Arc::clone(&worker), endpoint);
        let target = Arc::new(Target::new(worker, own, entrance, None));
        let url = spec.url.clone();
        let entry = RosterEntry { spec, own, targets: vec![Arc::clone(&target)], layout: None, known };
        entries.insert(url, entry);
        self.publish(&entries);
        Ok(target)
    }

    /// Marks a worker as draining. `None` if it is not there.
    pub fn drain(&self, url: &str) -> Option<Arc<Target>> {
        let entries = self.entries.lock();
        let entry = entries.get(url)?;
        for target in &entry.targets {
            self.fleet.drain(target.worker().url());
            // A health check that ran at the same moment may have set the bit again.
            target.refresh();
        }
        self.queue.workers_changed();
        entry.first().cloned()
    }

    /// Marks a worker as not draining any more: it may be chosen if it is well. `None` if it is not there.
    pub fn undrain(&self, url: &str) -> Option<Arc<Target>> {
        let entries = self.entries.lock();
        let entry = entries.get(url)?;
        for target in &entry.targets {
            self.fleet.undrain(target.worker().url());
            target.refresh();
        }
        entry.first().cloned()
    }

    /// Gives a worker other facts and settings; all else of it goes on, also what was learnt of its engine.
    /// `None` if it is not there.
    pub fn replace(&self, spec: WorkerSpec, own: OwnSettings) -> Option<Arc<Target>> {
        let mut entries = self.entries.lock();
        let entry = entries.get_mut(&spec.url)?;
        entry.known.configured.clone_from(&spec.model);
        let models = entry.known.names();
        for target in &mut entry.targets {
            let url = target.worker().url().to_owned();
            let engine = EngineFacts { models: models.clone(), ..target.worker().engine().clone() };
            let worker = self.fleet.replace(WorkerSpec { url, engine, ..spec.clone() })?;
            *target = Arc::new(target.succeeded_by(worker, own));
        }
        (entry.spec, entry.own) = (spec, own);
        let target = entry.first().cloned();
        self.publish(&entries);
        target
    }

    /// How a worker is laid out; `None` if all of it is one candidate.
    pub(crate) fn layout(&self, url: &str) -> Option<RankLayout> {
        self.entries.lock().get(url)?.layout
    }

    /// From now on so many ranks of a worker are candidates of their own, or all of it is one again. Those that
    /// stay keep their numbers; requests at those that go are not cut. Nothing if the worker is gone.
    pub(crate) fn lay_out(&self, url: &str, layout: Option<RankLayout>) {
        let mut entries = self.entries.lock();
        let Some(entry) = entries.get_mut(url).filter(|entry| entry.layout != layout) else { return };
        let mut left = entry.targets.clone();
        let mut targets = Vec::new();
        for mark in marks(layout) {
            let rank = mark.as_ref().map(RankMark::number);
            let kept = left.iter().position(|target| target.rank_number() == rank);
            match kept.map(|at| left.swap_remove(at)) {
                Some(kept) => targets.push(Arc::new(kept.marked(mark))),
                None => targets.extend(self.open(entry, mark).map(Arc::new)),
            }
        }
        if targets.is_empty() {
            return;
        }
        tracing::info!(worker = url, candidates = targets.len(), "ranks laid out");
        entry.layout = layout;
        // Those that go leave the table only after the others are in it: no request finds nobody.
        let gone = left.clone();
        entry.targets = targets.iter().cloned().chain(left).collect();
        self.publish(&entries);
        if gone.is_empty() {
            return;
        }
        for target in &gone {
            self.fleet.remove(target.worker().url());
            target.refresh();
        }
        if let Some(entry) = entries.get_mut(url) {
            entry.targets = targets;
        }
        self.publish(&entries);
    }

    /// One more candidate of a worker.
    fn open(&self, entry: &RosterEntry, mark: Option<RankMark>) -> Option<Target> {
        let first = entry.first()?;
        let (spec, endpoint) = (entry.spec_of(mark.as_ref().map(RankMark::number)), first.endpoint());
        // No other worker has such a name.
        let worker = self.fleet.add(spec, false).ok()?;
        if first.worker().is_draining() {
            self.fleet.drain(worker.url());
        }
        let entrance = Entrance::new(Arc::clone(&worker), endpoint);
        Some(Target::new(worker, entry.own, entrance, mark))
    }

    /// Takes a worker out. `None` if it is not there.
    pub fn remove(&self, url: &str) -> Option<Arc<Target>> {
        let mut entries = self.entries.lock();
        let removed = entries.remove(url)?;
        for target in &removed.targets {
            self.fleet.remove(target.worker().url());
            // Ends a change of its health that runs at the same moment, before it can be added again.
            target.refresh();
        }
        self.publish(&entries);
        removed.first().cloned()
    }

    /// A worker, all of it or its ranks, and what is known of its models. `None` if it is not there.
    pub fn find(&self, url: &str) -> Option<(Vec<Arc<Target>>, Known)> {
        let entries = self.entries.lock();
        entries.get(url).map(|entry| (entry.targets.clone(), entry.known.clone()))
    }

    /// All of a worker, or its ranks; nobody if it is not there.
    pub fn targets(&self, url: &str) -> Vec<Arc<Target>> {
        self.entries.lock().get(url).map(|entry| entry.targets.clone()).unwrap_or_default()
    }

    /// A worker says this of the load of each rank; of all of it for `None`.
    pub(crate) fn report(&self, url: &str, said: impl Fn(Option<u32>) -> WorkerReport) {
        for target in self.targets(url) {
            target.worker().set_report(&said(target.rank_number()));
        }
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
    pub fn forget_prefixes(&self, url: &str) {
        self.targets(url).iter().for_each(|target| self.fleet.forget_prefixes(target.worker()));
    }

    /// A worker was found dead, also one that was removed and that requests still wait for.
    pub fn found_dead(&self) {
        // Release: who reads the number sees the worker's own.
        self.deaths.fetch_add(1, Ordering::Release);
    }

    /// The worker takes no connections: what it held is gone, and so is what waits for it.
    pub fn died(&self, url: &str) {
        self.forget_prefixes(url);
        self.found_dead();
    }

    /// How often a worker was found dead, over all that there are and ever were.
    pub fn deaths(&self) -> u64 {
        // Acquire: see `found_dead`.
        self.deaths.load(Ordering::Acquire)
    }

    /// A worker says which models it has: a new table, if it has others than before. Nothing if it is gone.
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
        let models = entry.known.names();
        entry.tell(&self.fleet, |_, before| EngineFacts { models: models.clone(), ..before.clone() });
        self.publish(&entries);
    }

    /// A worker says of what engine it is, and each rank; all of it for `None`: a new table, if that is news.
    /// Nothing if it is gone.
    pub fn learn_engine(&self, url: &str, facts: impl Fn(Option<u32>) -> EngineFacts) {
        let mut entries = self.entries.lock();
        let Some(entry) = entries.get_mut(url) else { return };
        let is_news = entry.tell(&self.fleet, |target, before| {
            let rank = target.rank_number();
            EngineFacts { dp_rank: rank, models: before.models.clone(), ..facts(rank) }
        });
        if is_news {
            self.publish(&entries);
        }
    }

    /// Whose models it serves, by its own list: engines name themselves there.
    pub fn owner(&self, url: &str) -> Option<String> {
        let entries = self.entries.lock();
        let card = entries.get(url)?.known.listing.as_ref()?.cards().first()?;
        Some(card.shown().get("owned_by")?.as_str()?.to_owned())
    }

    fn publish(&self, entries: &HashMap<String, RosterEntry>) {
        let table = self.fleet.table();
        let candidates = entries.values().flat_map(|entry| {
            entry.targets.iter().map(move |target| (target.worker().url(), (target, &entry.known)))
        });
        let candidates: HashMap<&str, (&Arc<Target>, &Known)> = candidates.collect();
        let entries = table.workers().iter().filter_map(|worker| candidates.get(worker.url()));
        let (targets, known): (Vec<_>, Vec<_>) =
            entries.map(|(target, known)| (Arc::clone(target), Known::clone(known))).unzip();
        debug_assert_eq!(targets.len(), table.workers().len());
        self.snapshot.store(Arc::new(Snapshot::new(table, targets, &known, self.learns)));
        self.queue.workers_changed();
    }
}

/// How the candidates of a worker are named to its engine.
fn marks(layout: Option<RankLayout>) -> Vec<Option<RankMark>> {
    match layout {
        None => vec![None],
        Some(layout) => (0..layout.count).map(|rank| Some(RankMark::new(rank, layout))).collect(),
    }
}
