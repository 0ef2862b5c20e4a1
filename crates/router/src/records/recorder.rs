//! Which requests are recorded, and where their records go.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

use crate::config::checked::RecordSettings;
use crate::metrics::{Metrics, catalogue};
use crate::records::writer::RecordWriter;
use sgl_api::RequestRecord;

/// Records decisions of one router.
///
/// # Concurrency
///
/// A request that is not recorded touches nothing shared. The lock of the kept records is taken at
/// the end of a recorded request, for a push.
#[derive(Debug)]
pub struct Recorder {
    settings: RecordSettings,
    kept: Mutex<VecDeque<Arc<RequestRecord>>>,
    writer: Option<RecordWriter>,
    recorded: AtomicU64,
}

impl Recorder {
    /// A recorder, with its file open.
    ///
    /// # Errors
    ///
    /// What the system says of the file.
    pub fn new(settings: RecordSettings) -> io::Result<Arc<Self>> {
        let writer = settings.file.as_deref().map(RecordWriter::open).transpose()?;
        Ok(Arc::new(Self { settings, kept: Mutex::default(), writer, recorded: AtomicU64::new(0) }))
    }

    /// Registers metrics of what it did.
    pub fn register(self: &Arc<Self>, metrics: &Metrics) {
        // Weak: the registry may outlive the router, and the router's end should close the file.
        let recorder = Arc::downgrade(self);
        metrics.register(move |families| {
            let Some(recorder) = recorder.upgrade() else { return };
            let recorded = recorder.recorded.load(Ordering::Relaxed);
            families.family(&catalogue::DECISION_RECORDS).count(&[], recorded);
            let dropped = recorder.writer.as_ref().map_or(0, RecordWriter::dropped);
            families.family(&catalogue::DECISION_RECORDS_DROPPED).count(&[], dropped);
        });
    }

    /// True if the next request is in the sample.
    pub(crate) fn samples(&self) -> bool {
        let share = self.settings.sample;
        share > 0.0 && fastrand::f64() < share
    }

    /// True if clients may ask for a record of their request.
    pub(crate) fn answers_clients(&self) -> bool {
        self.settings.header
    }

    /// Keeps and writes a complete record.
    pub(crate) fn take(&self, record: RequestRecord) {
        self.recorded.fetch_add(1, Ordering::Relaxed);
        let record = Arc::new(record);
        if let Some(writer) = &self.writer {
            writer.write(&record);
        }
        let mut kept = self.kept.lock();
        kept.push_back(record);
        if kept.len() > self.settings.keep {
            kept.pop_front();
        }
    }

    /// The newest kept record of this request.
    pub fn find(&self, request_id: &str) -> Option<Arc<RequestRecord>> {
        self.kept.lock().iter().rev().find(|record| record.request_id == request_id).cloned()
    }

    /// The newest kept records, newest first.
    pub fn newest(&self, limit: usize) -> Vec<Arc<RequestRecord>> {
        self.kept.lock().iter().rev().take(limit).cloned().collect()
    }

    /// What it was set to.
    pub fn settings(&self) -> &RecordSettings {
        &self.settings
    }
}
