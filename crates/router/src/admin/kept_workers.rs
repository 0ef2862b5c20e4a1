//! Workers that operators added, on disk, so that a restart comes back with them.
//!
//! One file in the state directory, written beside its place, synced and renamed, so that it is whole
//! or the one before. Workers of the configuration are not in it: the configuration wins.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::{fs, io};

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::sync::OwnedMutexGuard;

use crate::config::worker_entry::WorkerEntry;
use crate::config::worker_source::WorkerSource;
use crate::manage::durable_file;
use crate::proxy::{AddError, Backends};
use sglang_router_rs::types::{file, shown_path};

const FILE: &str = "workers.json";

/// Where an unreadable file goes.
const SET_ASIDE: &str = "workers.bad";

/// Most bytes that are read: some ten thousand workers.
const MAX_BYTES: u64 = 16 << 20;

/// The workers that were added while the router ran, and the file that holds them.
///
/// # Concurrency
///
/// The lock is held while the file is written, so that the last change is the last one on disk. Who
/// changes both the fleet and this takes a [`Turn`] first, which ends with the write: otherwise two of
/// them at once could leave a worker that serves and is not kept, or the other way round.
#[derive(Debug)]
pub struct KeptWorkers {
    dir: PathBuf,
    entries: Mutex<BTreeMap<String, WorkerEntry>>,
    turns: Arc<tokio::sync::Mutex<()>>,
    /// The last change could not be written.
    is_behind: AtomicBool,
}

/// Nobody else changes workers that are kept while somebody has it.
#[derive(Debug)]
pub(crate) struct Turn(#[expect(dead_code, reason = "it is held, not read")] OwnedMutexGuard<()>);

#[derive(Debug, Default, Serialize, Deserialize)]
struct Listed {
    workers: Vec<WorkerEntry>,
}

impl KeptWorkers {
    /// Whether a state directory has such a file.
    pub(crate) fn are_in(dir: &Path) -> bool {
        dir.join(FILE).exists()
    }

    /// Reads the file of a state directory. A bad file is set aside and reported in the log; the router
    /// then starts without its workers.
    pub fn open(dir: &Path) -> Self {
        let listed = read(&dir.join(FILE)).unwrap_or_else(|error| {
            let aside = dir.join(SET_ASIDE);
            tracing::error!(%error, aside = %shown_path(&aside), "workers that were added before are not known any more");
            // Otherwise the next change would overwrite what somebody may still want to read.
            if let Err(error) = fs::rename(dir.join(FILE), &aside) {
                tracing::error!(%error, "the bad file cannot be set aside");
            }
            Listed::default()
        });
        let entries = listed.workers.into_iter().map(|entry| (entry.url.clone(), entry)).collect();
        Self {
            dir: dir.to_owned(),
            entries: Mutex::new(entries),
            turns: Arc::default(),
            is_behind: AtomicBool::new(false),
        }
    }

    /// All of them, by their URLs.
    pub fn entries(&self) -> Vec<WorkerEntry> {
        self.entries.lock().values().cloned().collect()
    }

    /// Adds all of them; workers that are there already stay as they are.
    pub(crate) fn add_all(&self, backends: &Backends) {
        let _batch = backends.batch();
        for entry in self.entries() {
            match backends.add_from(WorkerSource::Operator, &entry) {
                Ok(_) => tracing::info!(worker = entry.url, "added from the state directory"),
                Err(AddError::Fleet(_)) => {
                    tracing::info!(worker = entry.url, "the configuration wins over the state directory");
                }
                Err(error) => {
                    tracing::error!(worker = entry.url, %error, "not added from the state directory")
                }
            }
        }
    }

    /// Waits until no change is under way.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future gives up the place in the row.
    pub(crate) async fn turn(&self) -> Turn {
        Turn(Arc::clone(&self.turns).lock_owned().await)
    }

    /// Keeps a worker that was added. A failure to write is logged: the worker serves all the same.
    ///
    /// # Errors
    ///
    /// Why a restart would come back without it, for people.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future does not stop it.
    pub(crate) async fn add(self: &Arc<Self>, turn: Turn, entry: WorkerEntry) -> Result<(), String> {
        self.change(turn, |entries| entries.insert(entry.url.clone(), entry.clone()) != Some(entry)).await
    }

    /// Forgets a worker that was removed; nothing changes if no operator added it.
    ///
    /// # Errors
    ///
    /// Why a restart would come back with it, for people.
    ///
    /// # Cancel safety
    ///
    /// As [`add`](Self::add).
    pub(crate) async fn remove(self: &Arc<Self>, turn: Turn, url: String) -> Result<(), String> {
        self.change(turn, move |entries| entries.remove(&url).is_some()).await
    }

    async fn change(
        self: &Arc<Self>,
        turn: Turn,
        change: impl FnOnce(&mut BTreeMap<String, WorkerEntry>) -> bool + Send + 'static,
    ) -> Result<(), String> {
        let this = Arc::clone(self);
        let written = tokio::task::spawn_blocking(move || {
            let mut entries = this.entries.lock();
            let is_news = change(&mut entries);
            let is_due = is_news || this.is_behind.load(Ordering::Relaxed);
            let written = if is_due { this.write(&entries) } else { Ok(()) };
            // Relaxed: the lock of the entries orders it.
            this.is_behind.store(written.is_err(), Ordering::Relaxed);
            drop(turn);
            written
        });
        // It panics for nothing that a disk may say.
        let Ok(Err(error)) = written.await else { return Ok(()) };
        let file = self.dir.join(FILE);
        let file = shown_path(&file);
        tracing::error!(%error, %file, "a restart would not come back with these workers");
        Err(format!(
            "not kept for a restart: {file} cannot be written ({error}); once it can, the next change of a worker writes all"
        ))
    }

    fn write(&self, entries: &BTreeMap<String, WorkerEntry>) -> io::Result<()> {
        let listed = Listed { workers: entries.values().cloned().collect() };
        durable_file::keep(&self.dir.join(FILE), &serde_json::to_vec_pretty(&listed)?)
    }
}

fn read(path: &Path) -> io::Result<Listed> {
    match file::read_if_there(path, MAX_BYTES)? {
        Some(bytes) => Ok(serde_json::from_slice(&bytes)?),
        None => Ok(Listed::default()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(url: &str) -> WorkerEntry {
        WorkerEntry { url: url.to_owned(), weight: 2.0, ..WorkerEntry::default() }
    }

    #[tokio::test]
    async fn workers_are_there_after_a_restart_until_they_are_removed() {
        let dir = tempfile::tempdir().unwrap();
        let kept = Arc::new(KeptWorkers::open(dir.path()));
        assert!(kept.entries().is_empty());
        kept.add(kept.turn().await, entry("http://a:1")).await.unwrap();
        kept.add(kept.turn().await, entry("http://b:1")).await.unwrap();
        kept.remove(kept.turn().await, "http://a:1".to_owned()).await.unwrap();
        kept.remove(kept.turn().await, "http://never:1".to_owned()).await.unwrap();
        let other = WorkerEntry { weight: 7.0, ..entry("http://b:1") };
        kept.add(kept.turn().await, other.clone()).await.unwrap();
        assert_eq!(KeptWorkers::open(dir.path()).entries(), [other]);
        let files = fs::read_dir(dir.path()).unwrap().count();
        assert_eq!(files, 1, "nothing is left beside the file");
    }

    #[tokio::test]
    async fn bad_file_is_set_aside_and_the_next_change_makes_a_good_one() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(FILE), "{\"workers\": [").unwrap();
        let kept = Arc::new(KeptWorkers::open(dir.path()));
        assert!(kept.entries().is_empty());
        assert_eq!(fs::read_to_string(dir.path().join(SET_ASIDE)).unwrap(), "{\"workers\": [");
        kept.add(kept.turn().await, entry("http://a:1")).await.unwrap();
        assert_eq!(KeptWorkers::open(dir.path()).entries(), [entry("http://a:1")]);
    }

    #[tokio::test]
    async fn change_that_cannot_be_written_says_so_and_is_written_with_the_next() {
        let dir = tempfile::tempdir().unwrap();
        let state = dir.path().join("state");
        fs::create_dir(&state).unwrap();
        let kept = Arc::new(KeptWorkers::open(&state));
        fs::remove_dir(&state).unwrap();
        let told = kept.add(kept.turn().await, entry("http://a:1")).await.unwrap_err();
        assert!(
            told.starts_with("not kept for a restart: ") && told.contains("state/workers.json"),
            "{told}"
        );
        assert!(
            kept.remove(kept.turn().await, "http://never:1".to_owned()).await.is_err(),
            "it still is not"
        );
        fs::create_dir(&state).unwrap();
        kept.remove(kept.turn().await, "http://never:1".to_owned()).await.unwrap();
        assert_eq!(KeptWorkers::open(&state).entries(), [entry("http://a:1")]);
    }
}
