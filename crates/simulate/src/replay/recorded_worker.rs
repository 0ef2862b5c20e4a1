//! A worker that shows what was recorded of it.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU32, AtomicUsize, Ordering};

use sgl_api::{CandidateFacts, CandidateRecord};
use sgl_policy_abi::Column;
use sglang_router_rs::core::{BookNumbers, EngineFacts, Worker, WorkerBooks, WorkerReport, WorkerRole};

/// A worker that shows what was recorded of it. Requests count at none of them.
///
/// # Concurrency
///
/// One thread writes and reads; the atomics are there because workers are shared. So all accesses are
/// `Relaxed`.
#[derive(Debug)]
pub(crate) struct RecordedWorker {
    url: String,
    role: WorkerRole,
    facts: CandidateFacts,
    healthy: AtomicBool,
    load: AtomicUsize,
    prefix_match: AtomicI32,
    report: [AtomicU32; Column::COUNT],
    books: WorkerBooks,
    has_books: AtomicBool,
}

impl RecordedWorker {
    /// A worker with the facts of this record, whose numbers are not yet shown.
    pub(crate) fn new(candidate: &CandidateRecord) -> Self {
        Self {
            url: candidate.url.clone(),
            role: candidate.role,
            facts: candidate.facts.clone().unwrap_or_default(),
            healthy: AtomicBool::new(false),
            load: AtomicUsize::new(0),
            prefix_match: AtomicI32::new(-1),
            report: Column::ALL.map(|column| AtomicU32::new(column.unknown())),
            books: WorkerBooks::default(),
            has_books: AtomicBool::new(false),
        }
    }

    /// True if a record is of this worker: its facts, which policies learn only once, are the same.
    pub(crate) fn is(&self, candidate: &CandidateRecord) -> bool {
        let facts = match &candidate.facts {
            Some(facts) => self.facts == *facts,
            None => self.facts == CandidateFacts::default(),
        };
        self.url == candidate.url && self.role == candidate.role && facts
    }

    /// Shows these numbers from now on.
    pub(crate) fn show(&self, candidate: &CandidateRecord) {
        self.healthy.store(candidate.healthy, Ordering::Relaxed);
        self.load.store(candidate.load, Ordering::Relaxed);
        self.prefix_match.store(candidate.prefix_match.unwrap_or(-1), Ordering::Relaxed);
        let report = report_of(candidate);
        for (cell, column) in self.report.iter().zip(Column::ALL) {
            cell.store(report.bits(column), Ordering::Relaxed);
        }
        self.has_books.store(candidate.books.is_some(), Ordering::Relaxed);
        if let Some(numbers) = &candidate.books {
            self.books.show(numbers);
        }
    }
}

fn report_of(candidate: &CandidateRecord) -> WorkerReport {
    let unknown = WorkerReport::UNKNOWN;
    WorkerReport {
        running: candidate.running.unwrap_or(unknown.running),
        waiting: candidate.waiting.unwrap_or(unknown.waiting),
        queued_tokens: candidate.queued_tokens.unwrap_or(unknown.queued_tokens),
        kv_usage: candidate.kv_usage.unwrap_or(unknown.kv_usage),
        throughput: candidate.throughput.unwrap_or(unknown.throughput),
        latency_ewma: candidate.latency_ms.unwrap_or(unknown.latency_ewma),
        report_age_ms: candidate.report_age_ms.unwrap_or(unknown.report_age_ms),
        load_elsewhere: candidate.load_elsewhere.unwrap_or(unknown.load_elsewhere),
    }
}

impl Worker for RecordedWorker {
    fn url(&self) -> &str {
        &self.url
    }

    fn is_healthy(&self) -> bool {
        self.healthy.load(Ordering::Relaxed)
    }

    fn load(&self) -> usize {
        self.load.load(Ordering::Relaxed)
    }

    fn increment_load(&self) {}

    fn decrement_load(&self) {}

    fn role(&self) -> WorkerRole {
        self.role
    }

    fn model_id(&self) -> Option<&str> {
        self.facts.model.as_deref()
    }

    fn weight(&self) -> f64 {
        self.facts.weight
    }

    fn labels(&self) -> &BTreeMap<String, String> {
        &self.facts.labels
    }

    fn engine(&self) -> &EngineFacts {
        &self.facts.engine
    }

    fn report(&self) -> WorkerReport {
        let bits = |column: Column| self.report.get(column as usize).map(|cell| cell.load(Ordering::Relaxed));
        WorkerReport::from_bits(|column| bits(column).unwrap_or(column.unknown()))
    }

    fn prefix_match(&self, _prefix_hashes: &[u64], _block_tokens: f32) -> Option<i32> {
        Some(self.prefix_match.load(Ordering::Relaxed)).filter(|held| *held >= 0)
    }

    fn books(&self) -> Option<&WorkerBooks> {
        self.has_books.load(Ordering::Relaxed).then_some(&self.books)
    }

    fn book_numbers(&self) -> Option<BookNumbers> {
        self.books().map(WorkerBooks::numbers)
    }
}
