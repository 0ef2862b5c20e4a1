//! The entries of a key: what is there now, and what was there before.

use async_nats::jetstream::kv;
use async_nats::jetstream::kv::Operation;
use futures_util::StreamExt;

use crate::buckets::limited;
use crate::desired_plugin::DesiredPlugin;
use crate::desired_set::{Epoch, RevisedPlugin};
use crate::fleet_state_error::FleetStateError;

/// What a change does about a value that cannot be understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unreadable {
    /// It fails.
    Refused,
    /// It puts another in its place, which follows the last that could be understood.
    Replaced,
}

/// What is there now, also that something was deleted.
pub(crate) async fn entry(bucket: &kv::Store, key: &str) -> Result<Option<kv::Entry>, FleetStateError> {
    let found = limited("reading a key", bucket.entry(key)).await?;
    found.map_err(|error| FleetStateError::server("reading a key")(error.into()))
}

/// True if it is a value.
pub(crate) fn is_put(entry: &kv::Entry) -> bool {
    entry.operation == Operation::Put
}

/// What is kept of a key, the oldest first.
async fn history(bucket: &kv::Store, key: &str) -> Result<Vec<kv::Entry>, FleetStateError> {
    let what = "reading what was there before";
    let read = async {
        let mut entries =
            bucket.history(key).await.map_err(|error| FleetStateError::server(what)(error.into()))?;
        let mut all = Vec::new();
        while let Some(entry) = entries.next().await {
            all.push(entry.map_err(|error| FleetStateError::server(what)(error.into()))?);
        }
        Ok(all)
    };
    limited(what, read).await?
}

/// The plugin of an entry that is there now.
pub(crate) async fn plugin_in(
    bucket: &kv::Store,
    key: &str,
    now: Option<&kv::Entry>,
    unreadable: Unreadable,
) -> Result<Option<DesiredPlugin>, FleetStateError> {
    let Some(now) = now.filter(|now| is_put(now)) else { return Ok(None) };
    match DesiredPlugin::read(key, &now.value) {
        Ok(plugin) => Ok(Some(plugin)),
        Err(error) if unreadable == Unreadable::Refused => Err(error),
        Err(_) => last_in(bucket, key, |value| DesiredPlugin::read(key, value).ok()).await,
    }
}

/// The epoch of an entry that is there now or, if that cannot be understood, the last that could be.
pub(crate) async fn epoch_in(
    bucket: &kv::Store,
    key: &str,
    now: Option<&kv::Entry>,
) -> Result<Option<Epoch>, FleetStateError> {
    let Some(now) = now.filter(|now| is_put(now)) else { return Ok(None) };
    match Epoch::read(key, &now.value) {
        Ok(epoch) => Ok(Some(epoch)),
        Err(_) => last_in(bucket, key, |value| Epoch::read(key, value).ok()).await,
    }
}

/// The last value of a key that can be understood.
async fn last_in<T>(
    bucket: &kv::Store,
    key: &str,
    read: impl Fn(&[u8]) -> Option<T>,
) -> Result<Option<T>, FleetStateError> {
    let entries = history(bucket, key).await?;
    Ok(entries.iter().rev().filter(|entry| is_put(entry)).find_map(|entry| read(&entry.value)))
}

/// What is there, and one of our writes if that has been applied.
pub(crate) async fn look(
    bucket: &kv::Store,
    key: &str,
    written: &[RevisedPlugin],
) -> Result<(Option<kv::Entry>, Option<RevisedPlugin>), FleetStateError> {
    let now = entry(bucket, key).await?;
    let applied = applied(bucket, key, now.as_ref(), written).await?;
    Ok((now, applied))
}

/// One of our writes that was applied after all, though nobody said so in time; also one that others have
/// changed since.
async fn applied(
    bucket: &kv::Store,
    key: &str,
    now: Option<&kv::Entry>,
    written: &[RevisedPlugin],
) -> Result<Option<RevisedPlugin>, FleetStateError> {
    let Some(first) = written.first() else { return Ok(None) };
    let is_ours = |entry: &kv::Entry| {
        let found = DesiredPlugin::read(key, &entry.value).ok()?;
        let ours = written.iter().find(|ours| ours.plugin.write == found.write)?;
        Some(RevisedPlugin { revision: entry.revision, plugin: ours.plugin.clone() })
    };
    let Some(now) = now.filter(|now| now.revision > first.revision) else { return Ok(None) };
    if let Some(found) = is_ours(now) {
        return Ok(Some(found));
    }
    Ok(history(bucket, key).await?.iter().find_map(is_ours))
}
