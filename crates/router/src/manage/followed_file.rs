//! Notices that a file has changed.

use std::path::Path;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::manage::file_stamp::FileStamp;

/// How often it is looked at. Watches of the system miss files that are mounted or linked from elsewhere, as
/// secrets of Kubernetes are.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// Has `changed` run on a thread that serves nobody each time that the file has changed and was the same for
/// one look, until told to stop.
///
/// # Cancel safety
///
/// Dropping the future ends the looking.
pub(crate) async fn follow(
    file: &Path,
    stop: CancellationToken,
    changed: impl Fn() + Clone + Send + 'static,
) {
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
        // It panics for nothing that a file may hold.
        let _ = tokio::task::spawn_blocking(changed.clone()).await;
    }
}
