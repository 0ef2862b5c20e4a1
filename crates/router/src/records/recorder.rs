//! Which requests are recorded, and where their records go.

use std::collections::VecDeque;
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

use crate::config::checked::RecordSettings;
use crate::metrics::{Metrics, catalogue};
use crate::records::writer::RecordWriter;
use sgl_api::{RecordedInputs, RequestRecord};
use sglang_router_rs::core::KeptBooks;
use sglang_router_rs::policies::{FleetNeeds, RequestNeeds};

/// Records decisions of one router.
///
/// # Concurrency
///
/// A request that is not recorded touches nothing shared. The lock of the kept records is taken at
/// the end of a recorded request, for a push.
#[derive(Debug)]
pub struct Recorder {
    settings: RecordSettings,
    /// The bits of the share of requests that are recorded: a reload may change it.
    share: AtomicU64,
    kept: Mutex<VecDeque<Arc<RequestRecord>>>,
    writer: Option<RecordWriter>,
    recorded: AtomicU64,
    /// Numbers of sessions: whoever reads records cannot try keys.
    sessions: RandomState,
    /// Where all inputs are recorded, the books are kept for that.
    _books: Option<KeptBooks>,
}

impl Recorder {
    /// A recorder, with its file open.
    ///
    /// # Errors
    ///
    /// What the system says of the file.
    pub fn new(settings: RecordSettings) -> io::Result<Arc<Self>> {
        let writer = settings.file.as_deref().map(RecordWriter::open).transpose()?;
        let books = (settings.inputs == RecordedInputs::All).then(KeptBooks::new);
        let share = AtomicU64::new(settings.sample.to_bits());
        Ok(Arc::new(Self {
            settings,
            share,
            kept: Mutex::default(),
            writer,
            recorded: AtomicU64::new(0),
            sessions: RandomState::new(),
            _books: books,
        }))
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

    /// The share of requests that are recorded.
    pub(crate) fn share(&self) -> f64 {
        // Relaxed: a number that orders nothing else.
        f64::from_bits(self.share.load(Ordering::Relaxed))
    }

    /// From now on this share of requests is recorded.
    pub(crate) fn set_share(&self, share: f64) {
        // Relaxed: see `share`.
        self.share.store(share.to_bits(), Ordering::Relaxed);
    }

    /// True if the next request is in the sample.
    pub(crate) fn samples(&self) -> bool {
        let share = self.share();
        share > 0.0 && fastrand::f64() < share
    }

    /// True if clients may ask for a record of their request.
    pub(crate) fn answers_clients(&self) -> bool {
        self.settings.header
    }

    /// True if all inputs are recorded, whatever the policy declares.
    pub(crate) fn records_all(&self) -> bool {
        self.settings.inputs == RecordedInputs::All
    }

    /// What has to be known of requests for its records.
    pub(crate) fn request_needs(&self) -> RequestNeeds {
        let all = self.records_all();
        RequestNeeds {
            prompt_tokens: all,
            max_tokens: all,
            stream: all,
            session: all,
            prefix_hashes: all,
            prefix_match: all,
            arrival_rate: all,
            model: all,
            ..RequestNeeds::default()
        }
    }

    /// What has to be known of workers for its records.
    pub(crate) fn fleet_needs(&self) -> FleetNeeds {
        FleetNeeds { prefixes: self.records_all(), reports: self.records_all() }
    }

    /// A number that stands for the key of a session.
    pub(crate) fn session_number(&self, key: &str) -> u64 {
        self.sessions.hash_one(key)
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
