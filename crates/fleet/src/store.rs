//! What is to be served and who lives, as NATS keeps it. All changes are compare and swap; a write that
//! timed out is looked for before it is written again.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_nats::jetstream::kv;
use async_nats::jetstream::kv::UpdateErrorKind;
use futures_util::StreamExt;
use tokio::sync::Mutex;

use crate::bucket_entries::{Unreadable, entry, epoch_in, is_put, look, plugin_in};
use crate::buckets::{Buckets, limited};
use crate::connection::FleetConnection;
use crate::desired_plugin::DesiredPlugin;
use crate::desired_set::{DesiredSet, Epoch, RevisedPlugin, random_name};
use crate::fleet_state_error::FleetStateError;
use crate::key_part::KeyPart;
use crate::presence::RouterPresence;

/// How often a change is tried that others get in the way of.
const TRIES: u32 = 50;

/// How often an epoch is begun or looked for.
const LOOKS: u32 = 10;

/// How long a write that timed out is looked for.
const PATIENCE: Duration = Duration::from_secs(60);

/// The state of one fleet.
///
/// # Concurrency
///
/// The lock is held while buckets are opened: whoever else needs them waits for the same.
#[derive(Clone, Debug)]
pub struct FleetStore {
    connection: FleetConnection,
    fleet: KeyPart,
    buckets: Arc<Mutex<Option<Buckets>>>,
}

impl FleetStore {
    /// The state of this fleet.
    pub fn new(connection: FleetConnection, fleet: KeyPart) -> Self {
        Self { connection, fleet, buckets: Arc::default() }
    }

    /// The connection.
    pub fn connection(&self) -> &FleetConnection {
        &self.connection
    }

    /// Its name.
    pub fn fleet(&self) -> &KeyPart {
        &self.fleet
    }

    pub(crate) async fn buckets(&self) -> Result<Buckets, FleetStateError> {
        self.connection.check()?;
        let mut known = self.buckets.lock().await;
        if let Some(buckets) = &*known {
            return Ok(buckets.clone());
        }
        let opened = Buckets::open(&self.connection).await?;
        Ok(known.insert(opened).clone())
    }

    /// Has the buckets opened anew: a server that lost its data has none.
    pub(crate) async fn forget_buckets(&self) {
        *self.buckets.lock().await = None;
    }

    /// All keys of the fleet.
    pub(crate) fn pattern(&self) -> String {
        format!("{}.>", self.fleet)
    }

    /// The key behind the fleet's name.
    pub(crate) fn within<'a>(&self, key: &'a str) -> Option<&'a str> {
        key.strip_prefix(self.fleet.as_str())?.strip_prefix('.')
    }

    fn epoch_key(&self) -> String {
        format!("{}.epoch", self.fleet)
    }

    fn plugin_key(&self, plugin: &KeyPart) -> String {
        format!("{}.plugin.{plugin}", self.fleet)
    }

    /// What is to be served now.
    ///
    /// # Errors
    ///
    /// [`FleetStateError`].
    ///
    /// # Cancel safety
    ///
    /// Nothing is changed.
    pub async fn desired(&self) -> Result<DesiredSet, FleetStateError> {
        let bucket = self.buckets().await?.desired;
        let mut set = DesiredSet::default();
        for key in keys(&bucket, |key| self.within(key).is_some()).await? {
            let Some(entry) = entry(&bucket, &key).await? else { continue };
            self.take(&mut set, &entry);
        }
        Ok(set)
    }

    /// Takes an entry of the bucket into a set, unless a later one is in it. True if that changed the set.
    pub(crate) fn take(&self, set: &mut DesiredSet, entry: &kv::Entry) -> bool {
        let Some(key) = self.within(&entry.key) else { return false };
        if key == "epoch" {
            return take_epoch(set, entry);
        }
        let Some(name) = key.strip_prefix("plugin.") else { return false };
        if set.plugins.get(name).is_some_and(|known| known.revision >= entry.revision) {
            return false;
        }
        let (name, revision) = (name.to_owned(), entry.revision);
        let was_malformed = set.malformed.remove(&name).is_some();
        if !is_put(entry) {
            return set.plugins.remove(&name).is_some() || was_malformed;
        }
        // No command could name such a plugin.
        let read =
            KeyPart::parse("plugin", &name).and_then(|_| DesiredPlugin::read(&entry.key, &entry.value));
        match read {
            Ok(plugin) => {
                set.plugins.insert(name, RevisedPlugin { revision, plugin });
            }
            Err(error) => {
                set.plugins.remove(&name);
                set.malformed.insert(name, error.to_string());
            }
        }
        true
    }

    /// The names of all fleets that there are at these servers.
    ///
    /// # Errors
    ///
    /// [`FleetStateError`].
    ///
    /// # Cancel safety
    ///
    /// Nothing is changed.
    pub async fn fleets(&self) -> Result<BTreeSet<String>, FleetStateError> {
        let buckets = self.buckets().await?;
        let mut all = keys(&buckets.desired, |_| true).await?;
        all.extend(keys(&buckets.live, |_| true).await?);
        Ok(all.iter().filter_map(|key| Some(key.split_once('.')?.0.to_owned())).collect())
    }

    /// Begins an epoch if there is none; gives the one that there is.
    ///
    /// # Errors
    ///
    /// [`FleetStateError`].
    ///
    /// # Cancel safety
    ///
    /// It may have been begun.
    pub async fn begin_epoch(&self) -> Result<Epoch, FleetStateError> {
        let bucket = self.buckets().await?.desired;
        for _ in 0..LOOKS {
            if let Some(entry) = entry(&bucket, &self.epoch_key()).await?.filter(is_put) {
                return Epoch::read(&self.epoch_key(), &entry.value);
            }
            // Whoever comes second, or is not answered in time, reads what is there.
            let value = value_of(&Epoch::new(Vec::new(), None));
            let _ = limited("beginning an epoch", bucket.create(self.epoch_key(), value.into())).await?;
        }
        Err(FleetStateError::Contended { key: self.epoch_key(), tries: LOOKS })
    }

    /// Puts another epoch in the place of the one that there is, if any. In the place of one that cannot be
    /// understood, `change` gets the last that could be.
    ///
    /// # Errors
    ///
    /// [`FleetStateError::Contended`] if somebody else does so at the same time.
    ///
    /// # Cancel safety
    ///
    /// It may have been put.
    pub async fn replace_epoch(
        &self,
        change: impl Fn(Option<Epoch>) -> Epoch,
    ) -> Result<Epoch, FleetStateError> {
        let bucket = self.buckets().await?.desired;
        let before = entry(&bucket, &self.epoch_key()).await?;
        let revision = before.as_ref().map_or(0, |entry| entry.revision);
        let epoch = change(epoch_in(&bucket, &self.epoch_key(), before.as_ref()).await?);
        let write = bucket.update(self.epoch_key(), value_of(&epoch).into(), revision);
        match limited("replacing the epoch", write).await? {
            Ok(_) => Ok(epoch),
            Err(error) if error.kind() == UpdateErrorKind::WrongLastRevision => {
                Err(FleetStateError::Contended { key: self.epoch_key(), tries: 1 })
            }
            Err(error) => {
                let now = entry(&bucket, &self.epoch_key()).await?;
                let is_ours = now.is_some_and(|entry| entry.value == value_of(&epoch));
                if is_ours {
                    Ok(epoch)
                } else {
                    Err(FleetStateError::server("replacing the epoch")(error.into()))
                }
            }
        }
    }

    /// Changes what is to be served under a name. `change` gets what is there, as often as somebody else
    /// changed it meanwhile, and gives what is to be; `None` leaves it.
    ///
    /// # Errors
    ///
    /// What `change` gives, or [`FleetStateError`].
    ///
    /// # Cancel safety
    ///
    /// It may have been changed.
    pub async fn change(
        &self,
        plugin: &KeyPart,
        change: impl FnMut(Option<&DesiredPlugin>) -> Result<Option<DesiredPlugin>, FleetStateError>,
    ) -> Result<Option<RevisedPlugin>, FleetStateError> {
        // Boxed: the client's own futures are large, and changes are rare.
        Box::pin(self.changed(plugin, Unreadable::Refused, change)).await
    }

    /// The same; a value that cannot be understood is replaced, and `change` gets the last that could be.
    ///
    /// # Errors
    ///
    /// As [`change`](Self::change).
    ///
    /// # Cancel safety
    ///
    /// As there.
    pub async fn change_or_mend(
        &self,
        plugin: &KeyPart,
        change: impl FnMut(Option<&DesiredPlugin>) -> Result<Option<DesiredPlugin>, FleetStateError>,
    ) -> Result<Option<RevisedPlugin>, FleetStateError> {
        Box::pin(self.changed(plugin, Unreadable::Replaced, change)).await
    }

    async fn changed(
        &self,
        plugin: &KeyPart,
        unreadable: Unreadable,
        mut change: impl FnMut(Option<&DesiredPlugin>) -> Result<Option<DesiredPlugin>, FleetStateError>,
    ) -> Result<Option<RevisedPlugin>, FleetStateError> {
        let (key, bucket) = (self.plugin_key(plugin), self.buckets().await?.desired);
        let mut written: Vec<RevisedPlugin> = Vec::new();
        let began = Instant::now();
        for _ in 0..TRIES {
            let (before, applied) = match look(&bucket, &key, &written).await {
                Ok(found) => found,
                // Nobody knows whether a write of ours was applied: it is looked for until the server answers.
                Err(error) if error.is_passing() && !written.is_empty() && began.elapsed() < PATIENCE => {
                    self.wait_for_link().await?;
                    continue;
                }
                Err(error) => return Err(error),
            };
            if applied.is_some() {
                return Ok(applied);
            }
            let revision = before.as_ref().map_or(0, |entry| entry.revision);
            let known = plugin_in(&bucket, &key, before.as_ref(), unreadable).await?;
            let Some(mut next) = change(known.as_ref())? else { return Ok(None) };
            next.write = random_name();
            let bytes = next.bytes()?;
            let plugin = RevisedPlugin { revision, plugin: next };
            match limited("a change", bucket.update(&key, bytes.into(), revision)).await {
                Ok(Ok(revision)) => return Ok(Some(RevisedPlugin { revision, ..plugin })),
                // Somebody else was first: what is there now is another thing to change.
                Ok(Err(error)) if error.kind() == UpdateErrorKind::WrongLastRevision => {
                    // A write of ours that came late is found at the next look.
                    tokio::time::sleep(Duration::from_millis(fastrand::u64(1..30))).await;
                }
                Ok(Err(error)) if error.kind() == UpdateErrorKind::InvalidKey => {
                    return Err(FleetStateError::server("a change")(error.into()));
                }
                // It may have been applied, or be applied yet: it is looked for, and never repeated blindly.
                Ok(Err(_)) | Err(_) => {
                    written.push(plugin);
                    self.wait_for_link().await?;
                }
            }
        }
        Err(FleetStateError::Contended { key, tries: TRIES })
    }

    async fn wait_for_link(&self) -> Result<(), FleetStateError> {
        let mut link = self.connection.link();
        match tokio::time::timeout(PATIENCE, link.wait_for(|link| link.is_up)).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) | Err(_) => {
                Err(FleetStateError::TimedOut { what: "a change, which may have been applied" })
            }
        }
    }

    /// Says what a router is. Only that router writes its key.
    ///
    /// # Errors
    ///
    /// [`FleetStateError`].
    ///
    /// # Cancel safety
    ///
    /// It may have been said.
    pub async fn say(&self, router: &KeyPart, presence: &RouterPresence) -> Result<(), FleetStateError> {
        let live = self.buckets().await?.live;
        let key = format!("{}.{router}", self.fleet);
        let said = limited("presence", live.put(key, value_of(presence).into())).await?;
        said.map(drop).map_err(|error| FleetStateError::server("presence")(error.into()))
    }

    /// Who lives now.
    ///
    /// # Errors
    ///
    /// [`FleetStateError`].
    ///
    /// # Cancel safety
    ///
    /// Nothing is changed.
    pub async fn live(&self) -> Result<Vec<RouterPresence>, FleetStateError> {
        let bucket = self.buckets().await?.live;
        let mut all = Vec::new();
        for key in keys(&bucket, |key| self.within(key).is_some()).await? {
            let entry = entry(&bucket, &key).await?.filter(is_put);
            all.extend(entry.and_then(|entry| serde_json::from_slice(&entry.value).ok()));
        }
        all.sort_by(|a: &RouterPresence, b| a.router.cmp(&b.router));
        Ok(all)
    }
}

/// Some of the keys in a bucket.
async fn keys(bucket: &kv::Store, is_one: impl Fn(&str) -> bool) -> Result<Vec<String>, FleetStateError> {
    let what = "listing keys";
    let failed = |error: async_nats::Error| FleetStateError::server(what)(error);
    let all = async {
        let mut keys = bucket.keys().await.map_err(|error| failed(error.into()))?;
        let mut found = Vec::new();
        while let Some(key) = keys.next().await {
            let key = key.map_err(|error| failed(error.into()))?;
            if is_one(&key) {
                found.push(key);
            }
        }
        Ok(found)
    };
    limited(what, all).await?
}

fn take_epoch(set: &mut DesiredSet, entry: &kv::Entry) -> bool {
    let (epoch, fault) = match is_put(entry).then(|| Epoch::read(&entry.key, &entry.value)) {
        None => (None, None),
        Some(Ok(epoch)) => (Some(epoch), None),
        Some(Err(error)) => (None, Some(error.to_string())),
    };
    let is_new = set.epoch != epoch || set.epoch_fault != fault;
    (set.epoch, set.epoch_fault) = (epoch, fault);
    is_new
}

fn value_of(value: &impl serde::Serialize) -> Vec<u8> {
    // What is written here has a text.
    serde_json::to_vec(value).unwrap_or_default()
}
