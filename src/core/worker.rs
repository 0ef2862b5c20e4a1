//! One inference server, as policies see it.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU32, AtomicUsize, Ordering};

use serde::{Deserialize, Serialize};

use crate::core::books::BookNumbers;
use crate::core::engine_facts::EngineFacts;
use crate::core::report::WorkerReport;
use crate::core::worker_books::WorkerBooks;
use sgl_policy_abi::{Column, WorkerRole};

/// An inference server. Routers that embed this crate implement it for their own worker type.
///
/// The static facts (`url`, `role`, `model_id`, `weight`, `labels`, `engine`) must not change during the life of a
/// value: policies learn them only once. Make a new worker instead.
pub trait Worker: Send + Sync + fmt::Debug {
    /// Base URL, such as `http://10.0.0.7:30000`.
    fn url(&self) -> &str;

    /// True if the worker may be chosen now.
    fn is_healthy(&self) -> bool;

    /// Requests in flight to it from this router.
    fn load(&self) -> usize;

    /// Counts one more request in flight. Called at the moment of a decision.
    fn increment_load(&self);

    /// Counts one request less in flight. Called when the guard of a decision is dropped.
    fn decrement_load(&self);

    /// The part of a request that it serves. Default: [`WorkerRole::Regular`].
    fn role(&self) -> WorkerRole {
        WorkerRole::Regular
    }

    /// The model that it serves, if the router knows. Default: unknown.
    fn model_id(&self) -> Option<&str> {
        None
    }

    /// Relative capacity, above 0. Default: 1.0.
    fn weight(&self) -> f64 {
        1.0
    }

    /// Free-form labels. Default: none.
    fn labels(&self) -> &BTreeMap<String, String> {
        static NONE: BTreeMap<String, String> = BTreeMap::new();
        &NONE
    }

    /// What is known of the engine behind it. Default: nothing.
    fn engine(&self) -> &EngineFacts {
        static UNKNOWN: EngineFacts = EngineFacts::UNKNOWN;
        &UNKNOWN
    }

    /// What the worker last said about itself. Default: nothing is known.
    fn report(&self) -> WorkerReport {
        WorkerReport::UNKNOWN
    }

    /// How many tokens of a prompt with these block hashes it is believed to hold, for an embedder that keeps
    /// an index of prefixes; never asked without hashes. Default: nobody knows.
    fn prefix_match(&self, prefix_hashes: &[u64], block_tokens: f32) -> Option<i32> {
        let _ = (prefix_hashes, block_tokens);
        None
    }

    /// The router's own books of this worker, if it keeps room for them. Default: none, and all of their
    /// columns are unknown.
    fn books(&self) -> Option<&WorkerBooks> {
        None
    }

    /// What is in the router's own books; `None` if they are not kept. Default: what is in
    /// [`books`](Self::books).
    fn book_numbers(&self) -> Option<BookNumbers> {
        self.books().map(WorkerBooks::numbers)
    }
}

/// The static facts of a worker.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WorkerSpec {
    /// Base URL, such as `http://10.0.0.7:30000`.
    pub url: String,
    /// Part of a request that it serves. Default: `regular`.
    #[serde(default)]
    pub role: WorkerRole,
    /// Model that it serves. Default: unknown, so it may serve any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// Relative capacity, above 0. Default: 1.0.
    #[serde(default = "one")]
    pub weight: f64,
    /// Free-form labels. Default: none.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Port of the bootstrap server of a prefill worker. Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bootstrap_port: Option<u16>,
    /// What is known of its engine. Default: nothing.
    #[serde(default, skip_serializing_if = "EngineFacts::is_unknown")]
    pub engine: EngineFacts,
}

fn one() -> f64 {
    1.0
}

impl WorkerSpec {
    /// A regular worker of unknown model, weight 1.0, without labels.
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            role: WorkerRole::Regular,
            model: None,
            weight: 1.0,
            labels: BTreeMap::new(),
            bootstrap_port: None,
            engine: EngineFacts::UNKNOWN,
        }
    }
}

/// A worker on its own, outside a [`crate::core::Fleet`]: for embedders and tests.
#[derive(Debug)]
pub struct BasicWorker {
    spec: WorkerSpec,
    healthy: AtomicBool,
    load: AtomicUsize,
    other_load: AtomicUsize,
    /// Bits of the columns of its report.
    report: [AtomicU32; Column::COUNT],
    /// -1 = nobody knows.
    prefix_match: AtomicI32,
    books: WorkerBooks,
}

impl BasicWorker {
    /// A healthy worker without load.
    pub fn new(spec: WorkerSpec) -> Self {
        Self {
            spec,
            healthy: AtomicBool::new(true),
            load: AtomicUsize::new(0),
            other_load: AtomicUsize::new(0),
            report: Column::ALL.map(|column| AtomicU32::new(column.unknown())),
            prefix_match: AtomicI32::new(-1),
            books: WorkerBooks::default(),
        }
    }

    /// Sets how many requests it serves besides those that are counted here one by one.
    pub fn set_other_load(&self, requests: usize) {
        // Relaxed: a gauge.
        self.other_load.store(requests, Ordering::Relaxed);
    }

    /// Sets what it says of itself.
    pub fn set_report(&self, report: &WorkerReport) {
        for (cell, column) in self.report.iter().zip(Column::ALL) {
            // Relaxed: gauges.
            cell.store(report.bits(column), Ordering::Relaxed);
        }
    }

    /// Sets how many tokens of any prompt it is believed to hold; `None` = nobody knows.
    pub fn set_prefix_match(&self, tokens: Option<u32>) {
        let known = tokens.and_then(|tokens| i32::try_from(tokens).ok());
        // Relaxed: a gauge.
        self.prefix_match.store(known.unwrap_or(-1), Ordering::Relaxed);
    }

    /// Sets whether it may be chosen.
    pub fn set_healthy(&self, healthy: bool) {
        // Relaxed: a flag that orders nothing else.
        self.healthy.store(healthy, Ordering::Relaxed);
    }
}

impl Worker for BasicWorker {
    fn url(&self) -> &str {
        &self.spec.url
    }

    fn is_healthy(&self) -> bool {
        // Relaxed: see `set_healthy`.
        self.healthy.load(Ordering::Relaxed)
    }

    fn load(&self) -> usize {
        // Relaxed: gauges.
        self.load.load(Ordering::Relaxed).saturating_add(self.other_load.load(Ordering::Relaxed))
    }

    fn increment_load(&self) {
        // Relaxed: a gauge.
        self.load.fetch_add(1, Ordering::Relaxed);
    }

    fn decrement_load(&self) {
        // Relaxed: a gauge; guards pair every decrement with an increment.
        self.load.fetch_sub(1, Ordering::Relaxed);
    }

    fn role(&self) -> WorkerRole {
        self.spec.role
    }

    fn model_id(&self) -> Option<&str> {
        self.spec.model.as_deref()
    }

    fn weight(&self) -> f64 {
        self.spec.weight
    }

    fn labels(&self) -> &BTreeMap<String, String> {
        &self.spec.labels
    }

    fn engine(&self) -> &EngineFacts {
        &self.spec.engine
    }

    fn report(&self) -> WorkerReport {
        // Relaxed: gauges.
        let bits = |column: Column| self.report.get(column as usize).map(|cell| cell.load(Ordering::Relaxed));
        WorkerReport::from_bits(|column| bits(column).unwrap_or(column.unknown()))
    }

    fn prefix_match(&self, _prefix_hashes: &[u64], _block_tokens: f32) -> Option<i32> {
        // Relaxed: a gauge.
        Some(self.prefix_match.load(Ordering::Relaxed)).filter(|held| *held >= 0)
    }

    fn books(&self) -> Option<&WorkerBooks> {
        Some(&self.books)
    }
}
