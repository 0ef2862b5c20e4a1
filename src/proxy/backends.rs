//! The workers of the data plane: adding, draining, removing, looking after.

use std::collections::HashMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::task::JoinHandle;

use crate::config::checked::HealthSettings;
use crate::config::checked::ProxySettings;
use crate::config::router::RoleEntry;
use crate::config::router::WorkerEntry;
use crate::config::worker_url::WorkerUrl;
use crate::config::worker_url::WorkerUrlError;
use crate::core::Fleet;
use crate::core::FleetError;
use crate::core::Worker;
use crate::core::WorkerRole;
use crate::core::WorkerSpec;
use crate::proxy::health;
use crate::proxy::snapshot::Snapshot;
use crate::proxy::target::Target;

/// Why a worker could not be added.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AddError {
    /// The URL is in use.
    #[error(transparent)]
    Fleet(#[from] FleetError),
    /// The URL is none.
    #[error("the URL of a worker must be {0}")]
    Url(#[from] WorkerUrlError),
}

/// Owns the fleet, and for each worker a target and a keeper task.
///
/// # Concurrency
///
/// Changes take one lock; requests load the current snapshot and take none. Keepers are ended
/// when their worker is removed or the value is dropped.
#[derive(Debug)]
pub struct Backends {
    fleet: Fleet,
    snapshot: ArcSwap<Snapshot>,
    kept: Mutex<HashMap<String, Kept>>,
    settings: ProxySettings,
    runtime: Handle,
}

#[derive(Debug)]
struct Kept {
    target: Arc<Target>,
    keeper: JoinHandle<()>,
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.keeper.abort();
    }
}

impl Backends {
    /// No workers yet. Keepers run on the current tokio runtime.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime.
    pub fn new(settings: ProxySettings) -> Self {
        let fleet = Fleet::new();
        let snapshot = ArcSwap::from_pointee(Snapshot::new(fleet.table(), Vec::new()));
        Self { fleet, snapshot, kept: Mutex::default(), settings, runtime: Handle::current() }
    }

    /// The workers now.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.snapshot.load_full()
    }

    /// Adds a worker. It may be chosen once its first health check has passed, which starts at
    /// once; without health checks it may be chosen right away.
    ///
    /// # Errors
    ///
    /// [`AddError`] if the URL is in use or is none.
    pub fn add(&self, entry: &WorkerEntry) -> Result<Arc<Target>, AddError> {
        let url = WorkerUrl::parse(&entry.url)?;
        let spec = spec_of(entry, &url);
        let HealthSettings { interval, .. } = self.settings.health;
        let mut kept = self.kept.lock();
        let worker = self.fleet.add(spec, interval.is_none())?;
        let target = Target::new(worker, url, &self.settings, interval.is_none());
        let target = Arc::new(target.with_silence(self.settings.silence.of_worker(entry)));
        let keeper = health::keep(Arc::clone(&target), self.settings.health.clone());
        let keeper = self.runtime.spawn(keeper);
        let previous =
            kept.insert(target.worker().url().to_owned(), Kept { target: Arc::clone(&target), keeper });
        debug_assert!(previous.is_none(), "the fleet refuses duplicates");
        self.publish(&kept);
        Ok(target)
    }

    /// No new requests to a worker from now on; those in flight go on. `None` if it is not there.
    pub fn drain(&self, url: &str) -> Option<Arc<Target>> {
        let kept = self.kept.lock();
        self.fleet.drain(url)?;
        let target = Arc::clone(&kept.get(url)?.target);
        // A health check that ran at the same moment may have set the bit again.
        target.refresh();
        Some(target)
    }

    /// Takes a worker out at once; its requests in flight go on. `None` if it is not there.
    pub fn remove(&self, url: &str) -> Option<Arc<Target>> {
        let mut kept = self.kept.lock();
        self.fleet.remove(url)?;
        let removed = kept.remove(url)?;
        self.publish(&kept);
        Some(Arc::clone(&removed.target))
    }

    /// Drains a worker and removes it once it has no request in flight, or after the time that a
    /// shutdown may take, whichever comes first. `None` if it is not there.
    ///
    /// The removal goes on in the background; the value that is returned can be waited for.
    pub fn retire(self: &Arc<Self>, url: &str) -> Option<JoinHandle<()>> {
        let target = self.drain(url)?;
        let this = Arc::clone(self);
        Some(self.runtime.spawn(async move {
            let url = target.worker().url();
            if tokio::time::timeout(this.settings.shutdown, target.drained()).await.is_err() {
                tracing::warn!(
                    worker = url,
                    in_flight = target.worker().load(),
                    "removed before it was drained"
                );
            }
            this.remove(url);
        }))
    }

    fn publish(&self, kept: &HashMap<String, Kept>) {
        let table = self.fleet.table();
        let target = |url: &str| kept.get(url).map(|kept| Arc::clone(&kept.target));
        let targets: Vec<_> = table.workers().iter().filter_map(|worker| target(worker.url())).collect();
        debug_assert_eq!(targets.len(), table.workers().len());
        self.snapshot.store(Arc::new(Snapshot::new(table, targets)));
    }
}

fn spec_of(entry: &WorkerEntry, url: &WorkerUrl) -> WorkerSpec {
    let role = match entry.role {
        RoleEntry::Regular => WorkerRole::Regular,
        RoleEntry::Prefill => WorkerRole::Prefill,
        RoleEntry::Decode => WorkerRole::Decode,
    };
    WorkerSpec {
        role,
        model: entry.model.clone(),
        weight: entry.weight,
        labels: entry.labels.clone(),
        bootstrap_port: entry.bootstrap_port,
        ..WorkerSpec::new(url.to_string())
    }
}
