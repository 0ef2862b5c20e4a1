//! Reads the file of clients' keys again when it has changed.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::manage::file_stamp::FileStamp;
use crate::proxy::client_keys::key_ring::KeyRing;
use sglang_router_rs::types::shown_path;

/// How often it is looked at. Watches of the system miss files that are mounted or linked from elsewhere, as
/// secrets of Kubernetes are.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// Looks until told to stop.
///
/// # Cancel safety
///
/// Dropping the future ends the looking.
pub(crate) async fn watch(ring: Arc<KeyRing>, stop: CancellationToken) {
    let Some(file) = ring.file() else { return };
    let mut read = FileStamp::of(file);
    let mut before = read;
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(LOOK_INTERVAL) => {}
        }
        let now = FileStamp::of(file);
        // A file that is gone for a moment is about to be replaced, and one that changes is being written.
        let is_whole = now.is_some() && std::mem::replace(&mut before, now) == now;
        if now == read || !is_whole {
            continue;
        }
        read = now;
        let of_thread = Arc::clone(&ring);
        let told = tokio::task::spawn_blocking(move || tell(&of_thread)).await;
        // It panics for nothing that a file may hold.
        drop(told);
    }
}

/// Reads the file again, if the keys are of one, and logs what came of it.
///
/// # Errors
///
/// What is wrong with it, as the log says; nothing has changed then.
pub(crate) fn tell(ring: &KeyRing) -> Result<(), String> {
    let Some(path) = ring.file() else { return Ok(()) };
    let file = shown_path(path);
    match ring.reload(path) {
        Ok(keys) => {
            tracing::info!(file = %file, keys, "reloaded the keys of clients");
            Ok(())
        }
        Err(error) => {
            tracing::error!(file = %file, error, "keys of clients not reloaded; those before go on");
            Err(error)
        }
    }
}
