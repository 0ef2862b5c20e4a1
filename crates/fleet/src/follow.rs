//! Follows a fleet's state: by watching, and by reading all of it every 10 seconds. A watch alone may go deaf
//! without an error, such as when the server lost its data and made the bucket anew.

use std::time::{Duration, Instant};

use async_nats::jetstream::kv;
use async_nats::jetstream::kv::Operation;
use futures_util::StreamExt;
use tokio::sync::watch;

use crate::buckets::limited;
use crate::connection::LinkState;
use crate::fleet_state_error::FleetStateError;
use crate::presence::RouterPresence;
use crate::sight::{FleetSight, HeardPresence};
use crate::store::FleetStore;

/// Time between two readings of all.
const RECONCILE: Duration = Duration::from_secs(10);

/// How often silent routers are forgotten.
const TICK: Duration = Duration::from_secs(1);

/// Pause after something went wrong.
const PAUSE: Duration = Duration::from_millis(500);

/// Follows the fleet for as long as it is polled, and tells what it sees.
///
/// # Cancel safety
///
/// Nothing is lost.
pub async fn follow(store: &FleetStore, told: &watch::Sender<FleetSight>) {
    let mut link = store.connection().link();
    loop {
        wait_for_link(&mut link, told).await;
        told.send_modify(|sight| sight.is_up = true);
        // Boxed: watches are large.
        let failed = Box::pin(session(store, told)).await.err();
        let is_up = link.borrow().is_up;
        let failed = failed.map(|error| error.to_string());
        if let Some(fault) = &failed {
            tracing::debug!(fault, "the fleet's state cannot be followed; it is tried again");
            tokio::time::sleep(PAUSE.mul_f64(0.5 + fastrand::f64())).await;
        }
        told.send_modify(|sight| (sight.is_up, sight.fault) = (is_up, failed));
    }
}

/// Until there is a connection; tells why there is none.
async fn wait_for_link(link: &mut watch::Receiver<LinkState>, told: &watch::Sender<FleetSight>) {
    loop {
        let state = link.borrow_and_update().clone();
        if state.is_up {
            return;
        }
        told.send_if_modified(|sight| {
            let is_new = state.fault.is_some() && sight.fault != state.fault;
            if is_new {
                sight.fault.clone_from(&state.fault);
            }
            is_new
        });
        tokio::select! {
            // The sender lives as long as the connection.
            _ = link.changed() => {}
            () = tokio::time::sleep(TICK) => {
                told.send_if_modified(FleetSight::forget_silent);
            }
        }
    }
}

/// Until the connection is lost or comes anew, or a watch has ended or is deaf.
async fn session(store: &FleetStore, told: &watch::Sender<FleetSight>) -> Result<(), FleetStateError> {
    let mut link = store.connection().link();
    link.mark_unchanged();
    store.forget_buckets().await;
    let buckets = store.buckets().await?;
    let mut desired = watch(&buckets.desired, &store.pattern()).await?;
    let mut live = watch(&buckets.live, &store.pattern()).await?;
    reconcile(store, told).await?;
    told.send_modify(|sight| sight.fault = None);
    let mut reconciling = tokio::time::interval_at(tokio::time::Instant::now() + RECONCILE, RECONCILE);
    let mut tick = tokio::time::interval(TICK);
    loop {
        tokio::select! {
            changed = link.changed() => {
                let _ = changed;
                return Ok(());
            }
            entry = desired.next() => match entry {
                Some(Ok(entry)) => take_desired(store, told, &entry),
                Some(Err(error)) => return Err(FleetStateError::server("watching what is desired")(error.into())),
                None => return Ok(()),
            },
            entry = live.next() => match entry {
                Some(Ok(entry)) => take_live(store, told, &entry),
                Some(Err(error)) => return Err(FleetStateError::server("watching who lives")(error.into())),
                None => return Ok(()),
            },
            _ = reconciling.tick() => {
                if reconcile(store, told).await? {
                    // The watch has not told of it, or not yet: another one costs little.
                    return Ok(());
                }
            }
            _ = tick.tick() => {
                told.send_if_modified(FleetSight::forget_silent);
            }
        }
    }
}

async fn watch(bucket: &kv::Store, pattern: &str) -> Result<kv::Watch, FleetStateError> {
    let watch = limited("watching", bucket.watch_with_history(pattern)).await?;
    watch.map_err(|error| FleetStateError::server("watching")(error.into()))
}

/// Reads all. True if something is another than what is known.
async fn reconcile(store: &FleetStore, told: &watch::Sender<FleetSight>) -> Result<bool, FleetStateError> {
    let read = store.desired().await?;
    Ok(told.send_if_modified(|sight| {
        sight.heard = Some(Instant::now());
        let is_new = sight.desired.as_ref() != Some(&read);
        if is_new {
            sight.desired = Some(read);
        }
        is_new
    }))
}

fn take_desired(store: &FleetStore, told: &watch::Sender<FleetSight>, entry: &kv::Entry) {
    told.send_if_modified(|sight| {
        sight.heard = Some(Instant::now());
        sight.desired.as_mut().is_some_and(|set| store.take(set, entry))
    });
}

fn take_live(store: &FleetStore, told: &watch::Sender<FleetSight>, entry: &kv::Entry) {
    let Some(router) = store.within(&entry.key).map(str::to_owned) else { return };
    told.send_modify(|sight| {
        sight.heard = Some(Instant::now());
        let presence = serde_json::from_slice::<RouterPresence>(&entry.value).ok();
        match presence.filter(|_| entry.operation == Operation::Put) {
            Some(presence) => {
                sight.live.insert(router, HeardPresence { presence, heard: Instant::now() });
            }
            None => drop(sight.live.remove(&router)),
        }
    });
}
