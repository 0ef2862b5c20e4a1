//! A worker as an author describes it.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::value::MapAccessDeserializer;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use sglang_router_rs::core::{
    BasicWorker, BookNumbers, EngineFacts, Worker, WorkerReport, WorkerRole, WorkerSpec,
};

/// A worker as an author describes it: facts and numbers by the names of the inputs. What is left out is
/// not known, of the load and the books zero.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct DescribedWorker {
    pub(crate) url: Option<String>,
    pub(crate) role: WorkerRole,
    pub(crate) model: Option<String>,
    pub(crate) weight: Option<f64>,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) engine: EngineFacts,
    pub(crate) healthy: Option<bool>,
    pub(crate) load: Option<usize>,
    pub(crate) running: Option<i32>,
    pub(crate) waiting: Option<i32>,
    pub(crate) queued_tokens: Option<i32>,
    pub(crate) kv_usage: Option<f32>,
    pub(crate) throughput: Option<f32>,
    pub(crate) latency_ewma: Option<f32>,
    pub(crate) report_age_ms: Option<i32>,
    pub(crate) load_elsewhere: Option<i32>,
    pub(crate) prefix_match: Option<u32>,
    pub(crate) prefill_load: Option<i32>,
    pub(crate) prefill_tokens: Option<i32>,
    pub(crate) uncached_tokens: Option<i32>,
    pub(crate) tokens_in_flight: Option<i32>,
    pub(crate) pending_cost: Option<f32>,
    pub(crate) oldest_pending_ms: Option<i32>,
    pub(crate) ttft_ewma: Option<f32>,
    pub(crate) tpot_ewma: Option<f32>,
}

/// The same, or its URL alone.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct WorkerOrUrl(pub(crate) DescribedWorker);

impl<'de> Deserialize<'de> for WorkerOrUrl {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(WorkerVisitor)
    }
}

struct WorkerVisitor;

impl<'de> Visitor<'de> for WorkerVisitor {
    type Value = WorkerOrUrl;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a worker: its URL, or an object such as {\"url\": \"http://a\", \"load\": 3}")
    }

    fn visit_str<E>(self, url: &str) -> Result<Self::Value, E> {
        Ok(WorkerOrUrl(DescribedWorker { url: Some(url.to_owned()), ..DescribedWorker::default() }))
    }

    fn visit_map<M: MapAccess<'de>>(self, map: M) -> Result<Self::Value, M::Error> {
        DescribedWorker::deserialize(MapAccessDeserializer::new(map)).map(WorkerOrUrl)
    }
}

impl DescribedWorker {
    /// Its facts. The worker at `index` of a list has a URL that says so, if it has none.
    pub(crate) fn spec(&self, index: usize) -> WorkerSpec {
        WorkerSpec {
            role: self.role,
            model: self.model.clone(),
            weight: self.weight.unwrap_or(1.0),
            labels: self.labels.clone(),
            engine: self.engine.clone(),
            ..WorkerSpec::new(self.url.clone().unwrap_or_else(|| format!("http://worker-{index}")))
        }
    }

    /// What is wrong with it, if anything is.
    pub(crate) fn fault(&self) -> Option<String> {
        let weight = self.weight.filter(|weight| !(weight.is_finite() && *weight > 0.0));
        if let Some(weight) = weight {
            return Some(format!("weight: found {weight}; allowed: a number above 0"));
        }
        self.url.as_ref().filter(|url| url.is_empty()).map(|_| "url: it is empty; leave it out".to_owned())
    }

    /// A worker with these facts and numbers.
    pub(crate) fn made(&self, index: usize) -> BasicWorker {
        let worker = BasicWorker::new(self.spec(index));
        self.show(&worker);
        if let Some(books) = worker.books().filter(|_| self.has_books()) {
            books.show(&self.books());
        }
        worker
    }

    /// Has a worker show what is given here; all else stays. Facts and books are not touched.
    pub(crate) fn show(&self, worker: &BasicWorker) {
        if let Some(healthy) = self.healthy {
            worker.set_healthy(healthy);
        }
        if let Some(load) = self.load {
            worker.set_other_load(load);
        }
        if self.prefix_match.is_some() {
            worker.set_prefix_match(self.prefix_match);
        }
        worker.set_report(&self.report(&worker.report()));
    }

    fn report(&self, now: &WorkerReport) -> WorkerReport {
        let mut report = WorkerReport {
            running: self.running.unwrap_or(now.running),
            waiting: self.waiting.unwrap_or(now.waiting),
            queued_tokens: self.queued_tokens.unwrap_or(now.queued_tokens),
            kv_usage: self.kv_usage.unwrap_or(now.kv_usage),
            throughput: self.throughput.unwrap_or(now.throughput),
            latency_ewma: self.latency_ewma.unwrap_or(now.latency_ewma),
            report_age_ms: self.report_age_ms.unwrap_or(now.report_age_ms),
            load_elsewhere: self.load_elsewhere.unwrap_or(now.load_elsewhere),
        };
        // Numbers that a worker says of itself have an age: that of this moment unless told otherwise.
        if report.report_age_ms < 0 && self.report_age_ms.is_none() && !report.is_silent() {
            report.report_age_ms = 0;
        }
        report
    }

    /// True if a number of the router's own books is given.
    pub(crate) fn has_books(&self) -> bool {
        let counts = [self.prefill_load, self.prefill_tokens, self.uncached_tokens, self.tokens_in_flight];
        counts.iter().any(Option::is_some)
            || self.oldest_pending_ms.is_some()
            || [self.pending_cost, self.ttft_ewma, self.tpot_ewma].iter().any(Option::is_some)
    }

    /// True if a fact is given beside the URL.
    pub(crate) fn has_facts(&self) -> bool {
        let Self { role, model, weight, labels, engine, .. } = self;
        *role != WorkerRole::default()
            || model.is_some()
            || weight.is_some()
            || !labels.is_empty()
            || !engine.is_unknown()
    }

    fn books(&self) -> BookNumbers {
        BookNumbers {
            prefill_load: self.prefill_load.unwrap_or_default(),
            prefill_tokens: self.prefill_tokens.unwrap_or_default(),
            uncached_tokens: self.uncached_tokens.unwrap_or_default(),
            tokens_in_flight: self.tokens_in_flight.unwrap_or_default(),
            pending_cost: self.pending_cost.unwrap_or_default(),
            oldest_pending_ms: self.oldest_pending_ms,
            ttft_ms: self.ttft_ewma,
            tpot_ms: self.tpot_ewma,
        }
    }
}
