//! The workers of the data plane: adding, draining, removing, looking after.

use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;
use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::task::JoinHandle;

use crate::config::checked::{OwnSettings, ProxySettings};
use crate::config::secret::Secret;
use crate::config::worker_entry::WorkerEntry;
use crate::config::worker_source::WorkerSource;
use crate::manage::Placing;
use crate::proxy::endpoint::Endpoint;
use crate::proxy::engines::rank_learner::given_layout;
use crate::proxy::fleet_upkeep;
use crate::proxy::health;
use crate::proxy::keepers::{Keeper, Keepers};
use crate::proxy::queue::RequestQueue;
use crate::proxy::roster::Roster;
use crate::proxy::roster_batch::RosterBatch;
use crate::proxy::snapshot::Snapshot;
use crate::proxy::succession::Succession;
use crate::proxy::target::Target;
use crate::proxy::worker_change_error::{AddError, UndrainError};
use crate::proxy::worker_origin::WorkerOrigin;
use sgl_upstream::{Address, WorkerTls, WorkerUrl, WorkerUrlError};
use sglang_router_rs::core::WorkerSpec;
use sglang_router_rs::policies::FleetNeeds;
use sglang_router_rs::prefix_index::PrefixIndex;

/// How often a draining worker's requests are counted.
const DRAIN_LOOK: Duration = Duration::from_millis(500);

/// Owns the workers, and for each a keeper task.
///
/// # Concurrency
///
/// Changes take one lock, then the roster's; requests load the current snapshot and take none.
/// Keepers are ended when their worker is removed, those of removed workers with the last request
/// at them, and all when the value is dropped.
#[derive(Debug)]
pub struct Backends {
    roster: Arc<Roster>,
    queue: Arc<RequestQueue>,
    keepers: Mutex<Keepers>,
    /// Shows requests what changes.
    _showing: Keeper,
    settings: ProxySettings,
    tls: Arc<WorkerTls>,
    runtime: Handle,
}

impl Backends {
    /// No workers yet. Keepers run on the current tokio runtime.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime.
    pub fn new(settings: ProxySettings) -> Self {
        let queue = RequestQueue::new(settings.queue, 0);
        Self::with_queue(settings, queue)
    }

    /// The same; `queue` hears of workers that may be chosen from now on.
    pub(crate) fn with_queue(settings: ProxySettings, queue: Arc<RequestQueue>) -> Self {
        let roster = Arc::new(Roster::new(
            settings.health.poll_models,
            settings.requests.prefix_index,
            Arc::clone(&queue),
        ));
        let tls = WorkerTls::new(settings.worker_tls.clone());
        let runtime = Handle::current();
        let showing = Keeper(runtime.spawn(Arc::clone(&roster).keep_showing()));
        Self { roster, queue, keepers: Mutex::default(), _showing: showing, settings, tls, runtime }
    }

    /// TLS to workers.
    pub(crate) fn tls(&self) -> &Arc<WorkerTls> {
        &self.tls
    }

    /// The workers now.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.roster.snapshot()
    }

    /// Has changes wait for one snapshot that shows them all, until the value is dropped: for lists of workers.
    pub(crate) fn batch(&self) -> RosterBatch<impl FnMut()> {
        self.roster.batch()
    }

    /// Waits until the snapshot shows all changes that were made before: those of a large fleet are shown many
    /// at a time.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost.
    pub async fn shown(&self) {
        self.roster.shown().await;
    }

    /// How many snapshots were made so far.
    pub fn snapshots(&self) -> u64 {
        self.roster.snapshots()
    }

    /// The index of what workers hold, if it runs.
    pub fn prefix_index(&self) -> Option<Arc<PrefixIndex>> {
        self.roster.prefix_index()
    }

    /// Starts that index, unless it runs or must not.
    pub(crate) fn start_prefix_index(&self) {
        self.roster.start_prefix_index();
    }

    /// From now on what these policies read of workers is kept up, and what they read no longer is given up.
    pub(crate) fn serve(&self, policies: Arc<Placing>, recorded: FleetNeeds) {
        let upkeep = fleet_upkeep::keep(policies, recorded, Arc::clone(&self.roster));
        self.keepers.lock().upkeep = Some(Keeper(self.runtime.spawn(upkeep)));
    }

    /// The worker holds nothing of any prompt any more: it was told to forget.
    pub(crate) fn forget_prefixes(&self, url: &str) {
        self.roster.forget_prefixes(&normal(url));
    }

    /// How often workers are asked for their load; `None` if they are not.
    pub fn load_interval(&self) -> Option<Duration> {
        self.settings.health.load_interval
    }

    /// How often a worker was found dead, those that were removed included.
    pub fn deaths(&self) -> u64 {
        self.roster.deaths()
    }

    /// Adds a worker. It may be chosen once its first health check has passed, which starts at
    /// once; without health checks it may be chosen right away. One that is being removed is not removed
    /// then, and may be chosen again at once: it is the worker that it was, as after [`change`](Self::change).
    ///
    /// # Errors
    ///
    /// [`AddError`] if the URL is in use, in whatever spelling, or is none.
    pub fn add(&self, entry: &WorkerEntry) -> Result<Arc<Target>, AddError> {
        self.add_from(WorkerSource::Config, entry)
    }

    /// Adds all of them; requests see them together.
    ///
    /// # Errors
    ///
    /// That of the first that cannot be added. Those before it were.
    pub fn add_all(&self, entries: &[WorkerEntry]) -> Result<(), AddError> {
        let _batch = self.batch();
        entries.iter().try_for_each(|entry| self.add(entry).map(drop))
    }

    /// The same for a worker that comes from this source: it is that source's from now on.
    pub(crate) fn add_from(
        &self,
        source: WorkerSource,
        entry: &WorkerEntry,
    ) -> Result<Arc<Target>, AddError> {
        let url = WorkerUrl::parse(&entry.url)?;
        let spec = spec_of(entry, &url);
        let healthy = self.settings.health.interval.is_none();
        let mut keepers = self.keepers.lock();
        let origin = WorkerOrigin::new(source, entry);
        if let Some(target) = self.recall(&mut keepers, entry, &spec) {
            keepers.origins.insert(spec.url, origin);
            return Ok(target);
        }
        let own = self.settings.of_worker(entry);
        let address = Address::with(url, &self.tls, entry.http_version);
        let endpoint = Endpoint::new(address, &self.settings, healthy, &self.queue);
        endpoint.set_key(self.key_of(entry));
        let target = self.roster.add(spec, healthy, own, &endpoint)?;
        keepers.origins.insert(endpoint.url().to_string(), origin);
        Ok(self.look_after(&mut keepers, &target, own))
    }

    /// Ends the removal of a worker and its drain. `None` if it is not being removed.
    fn recall(&self, keepers: &mut Keepers, entry: &WorkerEntry, spec: &WorkerSpec) -> Option<Arc<Target>> {
        keepers.leaving.remove(&spec.url)?;
        let own = self.settings.of_worker(entry);
        self.roster.replace(spec.clone(), own)?;
        let target = self.roster.undrain(&spec.url)?;
        target.endpoint().speak(entry.http_version);
        target.endpoint().set_key(self.key_of(entry));
        Some(self.look_after(keepers, &target, own))
    }

    /// Gives a worker that is there the role, the model, the weight, the labels and the limits of
    /// `entry`. It is the same worker as before in all else: as healthy and as draining, with its
    /// requests in flight, its connections, its circuit and what is known of its models. `None` if it
    /// is not there.
    ///
    /// # Errors
    ///
    /// [`WorkerUrlError`] if the URL is none.
    pub fn change(&self, entry: &WorkerEntry) -> Result<Option<Arc<Target>>, WorkerUrlError> {
        let url = WorkerUrl::parse(&entry.url)?;
        let mut keepers = self.keepers.lock();
        let own = self.settings.of_worker(entry);
        let target = self.roster.replace(spec_of(entry, &url), own);
        Ok(target.map(|target| {
            if let Some(origin) = keepers.origins.get_mut(&target.endpoint().url().to_string()) {
                origin.entry = entry.clone();
            }
            target.endpoint().speak(entry.http_version);
            target.endpoint().set_key(self.key_of(entry));
            self.look_after(&mut keepers, &target, own)
        }))
    }

    /// The key that a worker asks for: its own, or that of all.
    fn key_of(&self, entry: &WorkerEntry) -> Option<HeaderValue> {
        entry.api_key.as_ref().and_then(Secret::bearer).or_else(|| self.settings.keys.worker.clone())
    }

    /// Gives a worker a keeper, which begins when the one before has ended. The worker as it is then.
    fn look_after(&self, keepers: &mut Keepers, target: &Arc<Target>, own: OwnSettings) -> Arc<Target> {
        let endpoint = Arc::clone(target.endpoint());
        let url = endpoint.url().to_string();
        if let Some(layout) = given_layout(own) {
            self.roster.lay_out(&url, layout);
        }
        let before = keepers.present.remove(&url);
        let blocks = self.settings.requests.prefix;
        let keeping =
            health::keep(endpoint, own, Arc::clone(&self.roster), self.settings.health.clone(), blocks);
        let (roster, of_keeper) = (Arc::clone(&self.roster), url.clone());
        let keeper = self.runtime.spawn(async move {
            if let Some(before) = before {
                before.end().await;
                // Meanwhile it may have learnt of other ranks.
                given_layout(own).into_iter().for_each(|layout| roster.lay_out(&of_keeper, layout));
            }
            keeping.await;
        });
        let first = self.roster.targets(&url).into_iter().next();
        keepers.present.insert(url, Keeper(keeper));
        first.unwrap_or_else(|| Arc::clone(target))
    }

    /// All of a worker, or its data-parallel ranks where they are candidates of their own; nobody if it is not
    /// there.
    pub fn targets(&self, url: &str) -> Vec<Arc<Target>> {
        self.roster.targets(&normal(url))
    }

    /// Where a worker comes from, what was said of it, and who has it drained; `None` if it is not there.
    pub(crate) fn origin(&self, url: &str) -> Option<WorkerOrigin> {
        let url = normal(url);
        let keepers = self.keepers.lock();
        let is_leaving = keepers.leaving.contains_key(&url);
        keepers.origins.get(&url).map(|origin| WorkerOrigin { is_leaving, ..origin.clone() })
    }

    /// No new requests to a worker from now on; those in flight go on. `None` if it is not there.
    /// Any spelling of its URL will do, here and below.
    pub fn drain(&self, url: &str) -> Option<Arc<Target>> {
        let url = normal(url);
        let mut keepers = self.keepers.lock();
        if let Some(origin) = keepers.origins.get_mut(&url) {
            origin.by_operator = true;
        }
        self.roster.drain(&url)
    }

    /// Ends [`drain`](Self::drain): the worker may be chosen if it is well. `None` if it is not there.
    ///
    /// # Errors
    ///
    /// [`UndrainError`] if it is being removed, or its source says that it is not ready.
    pub fn undrain(&self, url: &str) -> Option<Result<Arc<Target>, UndrainError>> {
        let url = normal(url);
        // Held, so that no removal begins meanwhile.
        let mut keepers = self.keepers.lock();
        if keepers.leaving.contains_key(&url) {
            return Some(Err(UndrainError::Leaving { url }));
        }
        if let Some(origin) = keepers.origins.get_mut(&url) {
            origin.by_operator = false;
            if origin.by_source {
                return Some(Err(UndrainError::NotReady { url, told_by: origin.source }));
            }
        }
        self.roster.undrain(&url).map(Ok)
    }

    /// The source of a worker says that it is ready for requests, or not. One that an operator has drained
    /// stays drained; one that is another source's, or is being removed, stays as it is. True if something
    /// changed.
    pub(crate) fn set_ready(&self, source: WorkerSource, url: &str, is_ready: bool) -> bool {
        let url = normal(url);
        let mut keepers = self.keepers.lock();
        let is_leaving = keepers.leaving.contains_key(&url);
        let Some(origin) = keepers.origins.get_mut(&url).filter(|origin| origin.source == source) else {
            return false;
        };
        let was_ready = !std::mem::replace(&mut origin.by_source, !is_ready);
        if was_ready == is_ready || is_leaving {
            return false;
        }
        if !is_ready {
            self.roster.drain(&url);
        } else if !origin.by_operator {
            self.roster.undrain(&url);
        }
        true
    }

    /// Takes a worker out at once; its requests in flight go on. `None` if it is not there.
    pub fn remove(&self, url: &str) -> Option<Arc<Target>> {
        self.take_out(&mut self.keepers.lock(), &normal(url))
    }

    /// What to wait for before workers are retired of whom others take the place, by their URLs as the
    /// fleet knows them.
    pub fn succession(&self, leaving: Vec<String>, staying: Vec<String>) -> Succession {
        Succession::new(Arc::clone(&self.roster), leaving, staying, &self.settings.health)
    }

    /// Drains a worker and removes it once it has no request in flight, or after the time that a
    /// shutdown may take, whichever comes first; unless it is [added](Self::add) again before. `None` if it
    /// is not there.
    ///
    /// The removal goes on in the background; the value that is returned can be waited for.
    pub fn retire(self: &Arc<Self>, url: &str) -> Option<JoinHandle<()>> {
        let (endpoint, removal) = {
            let mut keepers = self.keepers.lock();
            let target = self.roster.drain(&normal(url))?;
            keepers.removals += 1;
            let next = keepers.removals;
            let endpoint = Arc::clone(target.endpoint());
            let url = endpoint.url().to_string();
            (endpoint, *keepers.leaving.entry(url).or_insert(next))
        };
        let this = Arc::clone(self);
        Some(self.runtime.spawn(async move {
            let is_drained = tokio::time::timeout(this.settings.shutdown, drained(&endpoint)).await.is_ok();
            this.end_removal(removal, &endpoint, is_drained);
        }))
    }

    /// Removes this worker if it is still to be removed.
    fn end_removal(&self, removal: u64, endpoint: &Endpoint, is_drained: bool) {
        let url = &endpoint.url().to_string();
        let mut keepers = self.keepers.lock();
        if keepers.leaving.get(url) != Some(&removal) {
            return;
        }
        if !is_drained {
            tracing::warn!(worker = url, in_flight = endpoint.load_of_all(), "removed before it was drained");
        }
        self.take_out(&mut keepers, url);
    }

    fn take_out(&self, keepers: &mut Keepers, url: &str) -> Option<Arc<Target>> {
        keepers.present.remove(url);
        keepers.leaving.remove(url);
        keepers.origins.remove(url);
        let target = self.roster.remove(url)?;
        while keepers.removed.try_join_next().is_some() {}
        let (watched, roster) = (Arc::downgrade(target.endpoint()), Arc::clone(&self.roster));
        let keeper = health::keep_removed(watched, roster, self.settings.health.clone());
        keepers.removed.spawn_on(keeper, &self.runtime);
        Some(target)
    }
}

/// Waits until a draining worker has no request in flight. If it was removed and added again, the
/// requests from before end without a notice; so this also counts them now and then.
async fn drained(endpoint: &Endpoint) {
    while tokio::time::timeout(DRAIN_LOOK, endpoint.drained()).await.is_err() {}
}

/// The URL as the fleet knows it.
fn normal(url: &str) -> String {
    WorkerUrl::parse(url).map_or_else(|_| url.to_owned(), |url| url.to_string())
}

fn spec_of(entry: &WorkerEntry, url: &WorkerUrl) -> WorkerSpec {
    WorkerSpec {
        role: entry.role,
        model: entry.model.clone(),
        weight: entry.weight,
        labels: entry.labels.clone(),
        bootstrap_port: entry.bootstrap_port,
        ..WorkerSpec::new(url.to_string())
    }
}
