//! Writes lines on a thread of its own.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use crossbeam::channel::{Receiver, RecvError, RecvTimeoutError, Sender, bounded};

use crate::config::access_log_section::AccessLogSettings;
use crate::metrics::{DeliveryCounts, Metrics, catalogue};
use crate::proxy::access_log::line_buffers::{LineBuffers, LineFate, in_order};
use crate::proxy::access_log::log_file::LogFile;
use crate::proxy::access_log::request_account::RequestAccount;

/// How long lines wait for others, to be written together.
const GATHER: Duration = Duration::from_millis(100);

/// How long the end of the router waits for the last lines: nobody may read standard output any more.
const LAST_LINES: Duration = Duration::from_secs(5);

/// The log of one router. Dropped, it waits until everything is written.
#[derive(Debug)]
pub(crate) struct AccessLog {
    buffers: Arc<LineBuffers>,
    // An option only so that `Drop` can take it.
    wake: Option<Sender<()>>,
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
        let file = LogFile::open(&settings.target, "the access log")?;
        let (wake, woken) = bounded(1);
        let (ended, done) = bounded(1);
        let counts = Arc::new(DeliveryCounts::default());
        let buffers = Arc::new(LineBuffers::new(settings.form));
        let writer = LineWriter { file, buffers: Arc::clone(&buffers), woken, counts: Arc::clone(&counts) };
        let run = move || {
            writer.run();
            // Nobody may wait for it.
            let _ = ended.try_send(());
        };
        std::thread::Builder::new().name("sgl-access-log".into()).spawn(run)?;
        Ok(Arc::new(Self { buffers, wake: Some(wake), done, counts }))
    }

    /// Registers metrics of what became of lines.
    pub(crate) fn register(&self, metrics: &Metrics) {
        self.counts.register(metrics, &catalogue::ACCESS_LOG_LINES, "written");
    }

    /// Has a request's line written. Never blocks.
    pub(crate) fn write(&self, account: &RequestAccount) {
        match self.buffers.add(account) {
            LineFate::First => self.wake(),
            LineFate::Another => {}
            LineFate::Dropped => self.counts.dropped(1),
        }
    }

    /// The file may have another name: has it looked at now, not only with the next line.
    pub(crate) fn reopen(&self) {
        self.wake();
    }

    fn wake(&self) {
        // Full: the thread has not noticed the last time yet.
        let _ = self.wake.as_ref().map(|wake| wake.try_send(()));
    }
}

impl Drop for AccessLog {
    fn drop(&mut self) {
        drop(self.wake.take());
        // Its own panic would have been printed; there is nothing to add.
        let _ = self.done.recv_timeout(LAST_LINES);
    }
}

/// The thread's part.
struct LineWriter {
    file: LogFile,
    buffers: Arc<LineBuffers>,
    woken: Receiver<()>,
    counts: Arc<DeliveryCounts>,
}

impl LineWriter {
    fn run(mut self) {
        let (mut goes_on, mut complained) = (true, false);
        while goes_on {
            goes_on = self.woken.recv() != Err(RecvError);
            // Without a line the file may be renamed, or the router ends.
            if goes_on && self.buffers.has_lines() {
                goes_on = self.woken.recv_timeout(GATHER) != Err(RecvTimeoutError::Disconnected);
            }
            self.file.follow();
            self.write(&mut complained);
        }
    }

    fn write(&mut self, complained: &mut bool) {
        let (text, count) = in_order(&self.buffers.take());
        if count == 0 {
            return;
        }
        match self.file.write(&text) {
            Ok(()) => {
                self.counts.delivered(count);
                *complained = false;
            }
            Err(error) => {
                self.counts.failed(count);
                if !std::mem::replace(complained, true) {
                    tracing::error!(%error, "lines of the access log cannot be written; further ones are tried");
                }
            }
        }
    }
}
