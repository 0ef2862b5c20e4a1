//! Writes lines on a thread of its own.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use crossbeam::channel::{Receiver, Sender, bounded, select};

use crate::config::access_log_section::{AccessLogSettings, LineForm};
use crate::metrics::{DeliveryCounts, Metrics, catalogue};
use crate::proxy::access_log::line_form::line;
use crate::proxy::access_log::log_file::LogFile;
use crate::proxy::access_log::request_account::RequestAccount;

/// Requests whose lines may wait; those beyond are dropped and counted, since a slow disk must not hold up
/// requests.
const QUEUE: usize = 16_384;

/// How long lines wait for others, to be written together. Whoever sends one thus need not wake the thread.
const GATHER: Duration = Duration::from_millis(100);

/// How long the end of the router waits for the last lines: nobody may read standard output any more.
const LAST_LINES: Duration = Duration::from_secs(5);

/// The log of one router. Dropped, it waits until everything is written.
#[derive(Debug)]
pub(crate) struct AccessLog {
    // An option only so that `Drop` can take it.
    queue: Option<Sender<Box<RequestAccount>>>,
    wake: Sender<()>,
    done: Receiver<()>,
    counts: Arc<DeliveryCounts>,
}

impl AccessLog {
    /// Opens the log.
    ///
    /// # Errors
    ///
    /// What the system says of the file.
    pub(crate) fn open(settings: &AccessLogSettings) -> io::Result<Arc<Self>> {
        let file = LogFile::open(&settings.target)?;
        let (queue, requests) = bounded(QUEUE);
        let (wake, woken) = bounded(1);
        let (ended, done) = bounded(1);
        let counts = Arc::new(DeliveryCounts::default());
        let writer = LineWriter { file, form: settings.form, requests, woken, counts: Arc::clone(&counts) };
        let run = move || {
            writer.run();
            // Nobody may wait for it.
            let _ = ended.try_send(());
        };
        std::thread::Builder::new().name("sgl-access-log".into()).spawn(run)?;
        Ok(Arc::new(Self { queue: Some(queue), wake, done, counts }))
    }

    /// Registers metrics of what became of lines.
    pub(crate) fn register(&self, metrics: &Metrics) {
        self.counts.register(metrics, &catalogue::ACCESS_LOG_LINES, "written");
    }

    /// Has a request's line written. Never blocks.
    pub(crate) fn write(&self, account: Box<RequestAccount>) {
        let Some(queue) = &self.queue else { return };
        if queue.try_send(account).is_err() {
            self.counts.dropped(1);
        }
    }

    /// The file may have another name: has it looked at now, not only with the next line.
    pub(crate) fn reopen(&self) {
        // Full: it is looked at anyway.
        let _ = self.wake.try_send(());
    }
}

impl Drop for AccessLog {
    fn drop(&mut self) {
        drop(self.queue.take());
        self.reopen();
        // Its own panic would have been printed; there is nothing to add.
        let _ = self.done.recv_timeout(LAST_LINES);
    }
}

/// Lines that are written together.
#[derive(Default)]
struct LineBatch {
    text: Vec<u8>,
    count: u64,
}

/// The thread's part.
struct LineWriter {
    file: LogFile,
    form: LineForm,
    requests: Receiver<Box<RequestAccount>>,
    woken: Receiver<()>,
    counts: Arc<DeliveryCounts>,
}

impl LineWriter {
    fn run(mut self) {
        let (mut lines, mut complained) = (LineBatch::default(), false);
        while let Some(first) = self.next() {
            if let Some(first) = first {
                self.take(&first, &mut lines);
                // Woken means that the file may be renamed, or that the router ends.
                let _ = self.woken.recv_timeout(GATHER);
                self.take_waiting(&mut lines);
            }
            self.file.follow();
            self.write(&mut lines, &mut complained);
        }
    }

    /// Waits for a request, or to be woken without one; `None` once nobody sends any more.
    fn next(&self) -> Option<Option<Box<RequestAccount>>> {
        select! {
            recv(self.requests) -> request => request.ok().map(Some),
            recv(self.woken) -> _ => Some(None),
        }
    }

    fn take(&self, account: &RequestAccount, lines: &mut LineBatch) {
        lines.text.extend_from_slice(line(self.form, account).as_bytes());
        lines.count += 1;
    }

    fn take_waiting(&self, lines: &mut LineBatch) {
        for account in self.requests.try_iter().take(QUEUE) {
            self.take(&account, lines);
        }
    }

    fn write(&mut self, lines: &mut LineBatch, complained: &mut bool) {
        if lines.count == 0 {
            return;
        }
        let written = self.file.write(&lines.text);
        match written {
            Ok(()) => {
                self.counts.delivered(lines.count);
                *complained = false;
            }
            Err(error) => {
                self.counts.failed(lines.count);
                if !std::mem::replace(complained, true) {
                    tracing::error!(%error, "lines of the access log cannot be written; further ones are tried");
                }
            }
        }
        *lines = LineBatch::default();
    }
}
