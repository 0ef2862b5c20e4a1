//! The workers of the data plane: adding, draining, removing, looking after.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::task::JoinHandle;

use crate::config::checked::ProxySettings;
use crate::config::router::RoleEntry;
use crate::config::router::WorkerEntry;
use crate::config::worker_url::WorkerUrl;
use crate::config::worker_url::WorkerUrlError;
use crate::core::FleetError;
use crate::core::Worker;
use crate::core::WorkerRole;
use crate::core::WorkerSpec;
use crate::proxy::health;
use crate::proxy::roster::Roster;
use crate::proxy::snapshot::Snapshot;
use crate::proxy::target::Target;

/// How often a draining worker is looked at.
const DRAIN_LOOK: Duration = Duration::from_millis(500);

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

/// Owns the workers, and for each a keeper task.
///
/// # Concurrency
///
/// Changes take one lock, then the roster's; requests load the current snapshot and take none.
/// Keepers are ended when their worker is removed or the value is dropped.
#[derive(Debug)]
pub struct Backends {
    roster: Arc<Roster>,
    keepers: Mutex<HashMap<String, Keeper>>,
    settings: ProxySettings,
    runtime: Handle,
}

#[derive(Debug)]
struct Keeper(JoinHandle<()>);

impl Drop for Keeper {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Backends {
    /// No workers yet. Keepers run on the current tokio runtime.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime.
    pub fn new(settings: ProxySettings) -> Self {
        let roster = Arc::new(Roster::new(settings.health.poll_models));
        Self { roster, keepers: Mutex::default(), settings, runtime: Handle::current() }
    }

    /// The workers now.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.roster.snapshot()
    }

    /// Adds a worker. It may be chosen once its first health check has passed, which starts at
    /// once; without health checks it may be chosen right away.
    ///
    /// # Errors
    ///
    /// [`AddError`] if the URL is in use, in whatever spelling, or is none.
    pub fn add(&self, entry: &WorkerEntry) -> Result<Arc<Target>, AddError> {
        let url = WorkerUrl::parse(&entry.url)?;
        let spec = spec_of(entry, &url);
        let healthy = self.settings.health.interval.is_none();
        let mut keepers = self.keepers.lock();
        let silence = self.settings.silence.of_worker(entry);
        let make = |worker| Target::new(worker, url, &self.settings, healthy).with_silence(silence);
        let target = self.roster.add(spec, healthy, make)?;
        let keeper =
            health::keep(Arc::clone(&target), Arc::clone(&self.roster), self.settings.health.clone());
        keepers.insert(target.worker().url().to_owned(), Keeper(self.runtime.spawn(keeper)));
        Ok(target)
    }

    /// No new requests to a worker from now on; those in flight go on. `None` if it is not there.
    /// Any spelling of its URL will do, here and below.
    pub fn drain(&self, url: &str) -> Option<Arc<Target>> {
        self.roster.drain(&normal(url))
    }

    /// Takes a worker out at once; its requests in flight go on. `None` if it is not there.
    pub fn remove(&self, url: &str) -> Option<Arc<Target>> {
        let url = normal(url);
        let mut keepers = self.keepers.lock();
        keepers.remove(&url);
        self.roster.remove(&url)
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
            if tokio::time::timeout(this.settings.shutdown, drained(&target)).await.is_err() {
                tracing::warn!(
                    worker = url,
                    in_flight = target.worker().load(),
                    "removed before it was drained"
                );
            }
            this.remove_target(&target);
        }))
    }

    /// Removes this worker, not one of the same URL that was added since.
    fn remove_target(&self, target: &Arc<Target>) {
        let url = target.worker().url();
        let mut keepers = self.keepers.lock();
        if self.roster.has(target) {
            keepers.remove(url);
            self.roster.remove(url);
        }
    }
}

/// Waits until a draining worker has no request in flight. Requests from before it was removed and
/// added again end without telling, so it is looked at now and then too.
async fn drained(target: &Target) {
    while tokio::time::timeout(DRAIN_LOOK, target.drained()).await.is_err() {}
}

/// The URL as the fleet knows it.
fn normal(url: &str) -> String {
    WorkerUrl::parse(url).map_or_else(|_| url.to_owned(), |url| url.to_string())
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
