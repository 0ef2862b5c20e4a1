//! A file of workers, which is read again whenever it has changed.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use serde::Deserialize;
use tokio_util::sync::CancellationToken;

use crate::config::check_workers::check_workers;
use crate::config::toml_text::read;
use crate::config::worker_entry::WorkerEntry;
use crate::manage::digest::sha256;
use crate::sources::membership::Membership;
use crate::sources::offer::Offer;
use sglang_router_rs::config::Faults;
use sglang_router_rs::types::file;

/// How often it is looked at. Watches of the system miss files that are mounted or linked from elsewhere, as
/// maps of Kubernetes are.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// Largest file that is read, in bytes: some ten thousand workers.
const MAX_BYTES: u64 = 16 << 20;

/// What stands in the file.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct WorkerFile {
    /// As in the configuration. An empty list is written as one: a file that is cut off must not be taken for it.
    workers: Option<Vec<WorkerEntry>>,
}

/// What was seen of the file.
#[derive(Debug, Default)]
struct SeenFile {
    /// Digest of what was told.
    told: Option<String>,
    /// Digest of what was found last, and may be half written still.
    found: Option<String>,
}

/// Follows the file until told to stop.
///
/// # Cancel safety
///
/// Dropping the future ends the looking.
pub(crate) async fn follow(
    path: PathBuf,
    name: String,
    members: Arc<Mutex<Membership>>,
    stop: CancellationToken,
) {
    let (path, mut seen) = (Arc::new(path), SeenFile::default());
    // What is there at the start is no half of anything.
    let mut is_first = true;
    loop {
        let of_thread = Arc::clone(&path);
        let read = tokio::task::spawn_blocking(move || file::read_text(&of_thread, MAX_BYTES)).await;
        // It panics for nothing that a file may hold.
        if let Ok(read) = read {
            look(read, is_first, &mut seen, &name, &members);
        }
        is_first = false;
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(LOOK_INTERVAL) => {}
        }
    }
}

/// Tells what stands in the file if that is news, and was found twice: who writes in place is seen in between.
fn look(
    read: std::io::Result<String>,
    is_first: bool,
    seen: &mut SeenFile,
    name: &str,
    members: &Mutex<Membership>,
) {
    let text = match read {
        Ok(text) => text,
        Err(error) => {
            // A file that is gone for a moment is about to be replaced.
            if seen.found.take().is_some() || is_first || seen.told.is_none() {
                members.lock().failed(name, "unreadable", format!("cannot be read: {error}"));
            }
            // Read anew when it is back, so that its age is right.
            seen.told = None;
            return;
        }
    };
    let digest = sha256(text.as_bytes());
    if seen.told.as_ref() == Some(&digest) {
        seen.found = Some(digest);
        members.lock().unchanged(name);
        return;
    }
    let is_whole = is_first || seen.found.as_ref() == Some(&digest);
    seen.found = Some(digest.clone());
    if !is_whole {
        return;
    }
    match offers(&text) {
        Ok(offers) => {
            seen.told = Some(digest);
            members.lock().list(name, offers);
        }
        Err(error) => {
            // It is read anew: a file of a key that it names may come.
            seen.told = None;
            members.lock().failed(name, "faulty", error);
        }
    }
}

/// How many workers the file has now.
///
/// # Errors
///
/// In words, if it cannot be read or is no file of workers.
pub(crate) fn count(path: &Path) -> Result<(usize, usize), String> {
    let text = file::read_text(path, MAX_BYTES).map_err(|error| format!("cannot be read: {error}"))?;
    let found = offers(&text)?.len();
    Ok((found, found))
}

fn offers(text: &str) -> Result<BTreeMap<String, Offer>, String> {
    let (content, mut faults) = read::<WorkerFile>(text);
    if !faults.is_empty() {
        return Err(Faults(faults).in_one_line());
    }
    let Some(workers) = content.workers else {
        return Err("no `workers`; a file without any says `workers = []`".to_owned());
    };
    let mut checked = check_workers(&workers, &mut faults);
    if !faults.is_empty() {
        return Err(Faults(faults).in_one_line());
    }
    Ok(checked.drain(..).map(|entry| (entry.url.clone(), Offer::ready(entry))).collect())
}
