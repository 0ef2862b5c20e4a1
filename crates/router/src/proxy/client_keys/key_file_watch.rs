//! Reads the file of clients' keys again when it has changed.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use crate::manage::followed_file::follow;
use crate::proxy::client_keys::key_ring::KeyRing;
use sglang_router_rs::types::shown_path;

/// Looks until told to stop.
///
/// # Cancel safety
///
/// Dropping the future ends the looking.
pub(crate) async fn watch(ring: Arc<KeyRing>, stop: CancellationToken) {
    let Some(file) = ring.file().cloned() else { return };
    // What came of it is in the log.
    follow(&file, stop, move || drop(tell(&ring))).await;
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
