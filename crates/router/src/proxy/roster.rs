//! The workers that there are now: the fleet, a target for each, what is known of their models, and
//! the snapshot of it all that requests see.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::sync::futures::Notified;
use tokio::time::Instant;

use crate::config::checked::OwnSettings;
use crate::proxy::endpoint::Endpoint;
use crate::proxy::entrance::Entrance;
use crate::proxy::models::{Known, Listing};
use crate::proxy::queue::RequestQueue;
use crate::proxy::rank::{RankLayout, RankMark};
use crate::proxy::roster_batch::RosterBatch;
use crate::proxy::roster_entries::RosterEntries;
use crate::proxy::roster_entry::RosterEntry;
use crate::proxy::snapshot::Snapshot;
use crate::proxy::snapshot_board::SnapshotBoard;
use crate::proxy::target::Target;
use sglang_router_rs::core::{
    EngineFacts, Fleet, FleetError, PrefixIndexLimits, Worker, WorkerReport, WorkerSpec,
};
use sglang_router_rs::policies::FleetNeeds;
use sglang_router_rs::prefix_index::PrefixIndex;

/// Between two snapshots of a large fleet, at least, and in times of what the last one took.
const LEAST_PAUSE: Duration = Duration::from_millis(5);
const PAUSES: u32 = 4;

/// Who is there. The keepers of workers write to it; [`crate::proxy::Backends`] owns them.
///
/// # Concurrency
///
/// Changes take one lock; requests load the current snapshot and take none. Whoever needs a change to be in it
/// waits for [`shown`](Roster::shown).
#[derive(Debug)]
pub struct Roster {
    fleet: Fleet,
    board: SnapshotBoard,
    entries: Mutex<RosterEntries>,
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
        let fleet = Fleet::published_by_hand(limits);
        let board = SnapshotBoard::new(learns, &fleet, Arc::clone(&queue));
        Self {
            fleet,
            board,
            entries: Mutex::default(),
            deaths: AtomicU64::new(0),
            judged: Notify::new(),
            queue,
            wants_reports: AtomicBool::new(false),
        }
    }

    /// The workers now.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.board.snapshot()
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
        if entries.by_url.contains_key(&spec.url) {
            return Err(FleetError::Duplicate { url: spec.url });
        }
        let worker = self.fleet.add(spec.clone(), healthy)?;
        let known = Known { configured: spec.model.clone(), listing: None };
        let entrance = Entrance::new(Arc::clone(&worker), endpoint);
        let target = Arc::new(Target::new(worker, own, entrance, None));
        let url = spec.url.clone();
        let entry = RosterEntry { spec, own, targets: vec![Arc::clone(&target)], layout: None, known };
        entries.by_url.insert(url, entry);
        self.board.changed(&mut entries, &self.fleet);
        Ok(target)
    }

    /// Marks a worker as draining. `None` if it is not there.
    pub fn drain(&self, url: &str) -> Option<Arc<Target>> {
        let entries = self.entries.lock();
        let entry = entries.by_url.get(url)?;
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
        let entry = entries.by_url.get(url)?;
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
        let entry = entries.by_url.get_mut(&spec.url)?;
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
        self.board.changed(&mut entries, &self.fleet);
        target
    }

    /// How a worker is laid out; `None` if all of it is one candidate.
    pub(crate) fn layout(&self, url: &str) -> Option<RankLayout> {
        self.entries.lock().by_url.get(url)?.layout
    }

    /// From now on so many ranks of a worker are candidates of their own, or all of it is one again. Those that
    /// stay keep their numbers; requests at those that go are not cut. Nothing if the worker is gone.
    pub(crate) fn lay_out(&self, url: &str, layout: Option<RankLayout>) {
        let mut entries = self.entries.lock();
        let Some(entry) = entries.by_url.get_mut(url).filter(|entry| entry.layout != layout) else { return };
        let mut left = entry.targets.clone();
        let mut targets = Vec::new();
        for mark in RankMark::all_of(layout) {
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
        // Those that serve leave the table only after the others are in it: no request finds nobody.
        let gone = left.clone();
        entry.targets = targets.iter().cloned().chain(left).collect();
        if gone.iter().any(|target| target.worker().is_healthy()) {
            self.board.show(&mut entries, &self.fleet);
        }
        for target in &gone {
            self.fleet.remove(target.worker().url());
            target.refresh();
        }
        if let Some(entry) = entries.by_url.get_mut(url) {
            entry.targets = targets;
        }
        self.board.changed(&mut entries, &self.fleet);
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
        let removed = entries.by_url.remove(url)?;
        for target in &removed.targets {
            self.fleet.remove(target.worker().url());
            // Ends a change of its health that runs at the same moment, before it can be added again.
            target.refresh();
        }
        self.board.changed(&mut entries, &self.fleet);
        removed.first().cloned()
    }

    /// A worker, all of it or its ranks, and what is known of its models. `None` if it is not there.
    pub fn find(&self, url: &str) -> Option<(Vec<Arc<Target>>, Known)> {
        let entries = self.entries.lock();
        entries.by_url.get(url).map(|entry| (entry.targets.clone(), entry.known.clone()))
    }

    /// All of a worker, or its ranks; nobody if it is not there.
    pub fn targets(&self, url: &str) -> Vec<Arc<Target>> {
        self.entries.lock().by_url.get(url).map(|entry| entry.targets.clone()).unwrap_or_default()
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
        let Some(entry) = entries.by_url.get_mut(url) else { return };
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
        self.board.changed(&mut entries, &self.fleet);
    }

    /// A worker says of what engine it is, and each rank; all of it for `None`: a new table, if that is news.
    /// Nothing if it is gone.
    pub fn learn_engine(&self, url: &str, facts: impl Fn(Option<u32>) -> EngineFacts) {
        let mut entries = self.entries.lock();
        let Some(entry) = entries.by_url.get_mut(url) else { return };
        let is_news = entry.tell(&self.fleet, |target, before| {
            let rank = target.rank_number();
            EngineFacts { dp_rank: rank, models: before.models.clone(), ..facts(rank) }
        });
        if is_news {
            self.board.changed(&mut entries, &self.fleet);
        }
    }

    /// Whose models it serves, by its own list: engines name themselves there.
    pub fn owner(&self, url: &str) -> Option<String> {
        let entries = self.entries.lock();
        let card = entries.by_url.get(url)?.known.listing.as_ref()?.cards().first()?;
        Some(card.shown().get("owned_by")?.as_str()?.to_owned())
    }

    /// Has changes wait for one snapshot that shows them all, until the value is dropped.
    pub(crate) fn batch(&self) -> RosterBatch<impl FnMut()> {
        self.entries.lock().begin_batch();
        RosterBatch::new(|| {
            let mut entries = self.entries.lock();
            entries.end_batch();
            self.board.show_due(&mut entries, &self.fleet);
        })
    }

    /// Waits until requests see all changes that were made before.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost.
    pub(crate) async fn shown(&self) {
        let made = self.entries.lock().changes();
        self.board.shown(made).await;
    }

    /// How many snapshots were made.
    pub(crate) fn snapshots(&self) -> u64 {
        self.entries.lock().snapshots()
    }

    /// Shows what waits for that, for as long as it is polled.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future ends the showing.
    pub(crate) async fn keep_showing(self: Arc<Self>) {
        loop {
            self.board.waits().await;
            let this = Arc::clone(&self);
            // It may take milliseconds, which requests on this thread would wait for.
            let shown = tokio::task::spawn_blocking(move || {
                let mut entries = this.entries.lock();
                let begun = Instant::now();
                this.board.show_due(&mut entries, &this.fleet);
                begun.elapsed()
            });
            tokio::time::sleep(LEAST_PAUSE.max(shown.await.unwrap_or_default() * PAUSES)).await;
        }
    }
}
