//! Appends records to a file, a JSON object a line, on a thread of its own.

use std::fs::File;
use std::io;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;

use crossbeam::channel::{Receiver, Sender, TrySendError, bounded};

use sgl_api::RequestRecord;
use sglang_router_rs::types::file;

/// Records that may wait to be written; beyond that they are dropped and counted, since a slow
/// disk must not hold up requests.
const QUEUE: usize = 1024;

/// The writing half. Dropped, it waits until everything is written.
#[derive(Debug)]
pub(crate) struct RecordWriter {
    // Options only so that `Drop` can take them.
    queue: Option<Sender<Arc<RequestRecord>>>,
    thread: Option<JoinHandle<()>>,
    dropped: Arc<AtomicU64>,
}

impl RecordWriter {
    /// Opens the file for appending, or makes it. It must be a regular file: a pipe that nobody reads
    /// would block the start, or later the end.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let file = file::append(path)?;
        let (queue, records) = bounded(QUEUE);
        let dropped = Arc::new(AtomicU64::new(0));
        let failed = Arc::clone(&dropped);
        let write = move || write_all(&records, BufWriter::new(file), &failed);
        let thread = std::thread::Builder::new().name("sgl-records".into()).spawn(write)?;
        Ok(Self { queue: Some(queue), thread: Some(thread), dropped })
    }

    /// Hands a record over. Never blocks.
    pub(crate) fn write(&self, record: &Arc<RequestRecord>) {
        let Some(queue) = &self.queue else { return };
        if let Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) = queue.try_send(Arc::clone(record))
        {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Records that were not written.
    pub(crate) fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }
}

impl Drop for RecordWriter {
    fn drop(&mut self) {
        drop(self.queue.take());
        if let Some(thread) = self.thread.take() {
            // The writer's own panic would have been printed; there is nothing to add.
            let _ = thread.join();
        }
    }
}

fn write_all(records: &Receiver<Arc<RequestRecord>>, mut file: BufWriter<File>, failed: &AtomicU64) {
    let mut complained = false;
    for record in records {
        let mut write = || {
            serde_json::to_writer(&mut file, &*record)?;
            file.write_all(b"\n")?;
            // A crash loses only what still waits in the queue.
            if records.is_empty() { file.flush() } else { Ok(()) }
        };
        if let Err(error) = write() {
            failed.fetch_add(1, Ordering::Relaxed);
            if !std::mem::replace(&mut complained, true) {
                tracing::error!(%error, "decision records cannot be written");
            }
        }
    }
}
