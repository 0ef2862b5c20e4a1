//! What the data plane counts.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;

use crate::metrics::{
    CounterSet, DurationHistogram, Families, HistogramSnapshot, Metric, Metrics, catalogue,
};
use crate::proxy::backends::Backends;
use crate::proxy::endpoint::Endpoint;
use crate::proxy::feed_log::{BatchEnd, EventKind};
use crate::proxy::model_times::{ModelTimes, TimesByModel};
use crate::proxy::report_log::ReportFailure;
use crate::proxy::retry::RetryReason;
use crate::proxy::route::Route;
use crate::proxy::shortage::Shortage;
use crate::proxy::target::Target;
use crate::proxy::token_tally::TOKEN_KINDS;
use crate::proxy::verdict::Verdict;
use sgl_api::RequestCounts;
use sglang_router_rs::core::Worker;

/// Status classes, as labels.
const CLASSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];

/// Places in [`CLASSES`].
const SUCCEEDED: usize = 1;
const CLIENT_ERRORS: usize = 3;
const SERVER_ERRORS: usize = 4;

/// Counters of the request path. Each has its place, so that counting needs no look-up.
#[derive(Debug)]
pub struct Measures {
    requests: CounterSet,
    disconnects: CounterSet,
    aborted: CounterSet,
    error_events: CounterSet,
    retries: CounterSet,
    unplaced: CounterSet,
    duration: [DurationHistogram; Route::MEASURED.len()],
    first_byte: [DurationHistogram; Route::MEASURED.len()],
    refused: Mutex<BTreeMap<&'static str, u64>>,
    models: TimesByModel,
}

impl Default for Measures {
    fn default() -> Self {
        let routes = Route::MEASURED.len();
        let histogram = |_| DurationHistogram::new(DurationHistogram::REQUEST_BOUNDS);
        Self {
            requests: CounterSet::new(routes * CLASSES.len()),
            disconnects: CounterSet::new(routes),
            aborted: CounterSet::new(routes),
            error_events: CounterSet::new(routes),
            retries: CounterSet::new(RetryReason::ALL.len()),
            unplaced: CounterSet::new(Shortage::ALL.len()),
            duration: std::array::from_fn(histogram),
            first_byte: std::array::from_fn(histogram),
            refused: Mutex::default(),
            models: TimesByModel::default(),
        }
    }
}

impl Measures {
    /// A request was answered with this status, or with a stream that began with such an error.
    #[inline]
    pub fn answered(&self, route: Route, status: u16) {
        let class = usize::from(status / 100).clamp(1, CLASSES.len()) - 1;
        self.requests.increment(route.position() * CLASSES.len() + class);
    }

    /// The first byte of an answer's body came.
    #[inline]
    pub fn first_byte(&self, route: Route, after: Duration) {
        if let Some(histogram) = self.first_byte.get(route.position()) {
            histogram.observe(after);
        }
    }

    /// The last byte of an answer came.
    #[inline]
    pub fn finished(&self, route: Route, after: Duration) {
        if let Some(histogram) = self.duration.get(route.position()) {
            histogram.observe(after);
        }
    }

    /// The client hung up before its answer was complete.
    pub fn disconnected(&self, route: Route) {
        self.disconnects.increment(route.position());
    }

    /// An answer broke off after its head was sent: the worker's fault, or out of time.
    pub fn broke_off(&self, route: Route) {
        self.aborted.increment(route.position());
    }

    /// An answer that the client got as a stream told of an error in an event.
    pub fn told_error(&self, route: Route) {
        self.error_events.increment(route.position());
    }

    /// A request is tried again.
    pub fn retried(&self, reason: RetryReason) {
        self.retries.increment(reason as usize);
    }

    /// There was no worker for a request.
    pub fn unplaced(&self, shortage: Shortage) {
        self.unplaced.increment(shortage as usize);
    }

    /// The router answered a request with an error of its own, which has this code.
    pub(crate) fn refused(&self, code: &'static str) {
        *self.refused.lock().entry(code).or_default() += 1;
    }

    /// The times of a model that the fleet knows.
    pub(crate) fn times(&self, model: Option<&str>) -> Arc<ModelTimes> {
        self.models.of(model)
    }

    /// What became of requests of all routes, but for those that wait.
    pub(crate) fn together(&self) -> RequestCounts {
        let all = |counters: &CounterSet, count: usize| (0..count).map(|at| counters.total(at)).sum();
        let routes = Route::MEASURED.len();
        let of_class =
            |class: usize| (0..routes).map(|route| self.requests.total(route * CLASSES.len() + class)).sum();
        RequestCounts {
            succeeded: of_class(SUCCEEDED),
            client_errors: of_class(CLIENT_ERRORS),
            server_errors: of_class(SERVER_ERRORS),
            disconnects: all(&self.disconnects, routes),
            broken: all(&self.aborted, routes),
            retries: all(&self.retries, RetryReason::ALL.len()),
            unplaced: all(&self.unplaced, Shortage::ALL.len()),
            waiting: 0,
        }
    }

    /// Errors of the router's own, by their codes.
    pub(crate) fn refused_by_code(&self) -> BTreeMap<String, u64> {
        self.refused.lock().iter().map(|(code, total)| ((*code).to_owned(), *total)).collect()
    }

    /// Times to the first byte, of all routes.
    pub(crate) fn first_bytes(&self) -> HistogramSnapshot {
        HistogramSnapshot::sum_of(self.first_byte.iter().map(DurationHistogram::snapshot))
    }

    /// Times to the last byte, of all routes.
    pub(crate) fn durations(&self) -> HistogramSnapshot {
        HistogramSnapshot::sum_of(self.duration.iter().map(DurationHistogram::snapshot))
    }

    /// Has everything shown by `metrics`, that of the workers included.
    pub fn register(self: &Arc<Self>, backends: &Arc<Backends>, metrics: &Metrics) {
        let measures = Arc::clone(self);
        metrics.register(move |families| measures.tell(families));
        // Weak: the registry may outlive the data plane, and must not keep its tasks alive.
        let backends = Arc::downgrade(backends);
        metrics.register(move |families| tell_workers(&backends, families));
    }

    fn tell(&self, families: &mut Families) {
        let by_class = families.family(&catalogue::REQUESTS);
        for route in Route::MEASURED {
            for (class, name) in CLASSES.iter().enumerate() {
                let total = self.requests.total(route.position() * CLASSES.len() + class);
                if total > 0 {
                    by_class.count(&[route.name(), name], total);
                }
            }
        }
        let mut by_route = |metric: &'static Metric, counters: &CounterSet| {
            let family = families.family(metric);
            for route in Route::MEASURED {
                family.count(&[route.name()], counters.total(route.position()));
            }
        };
        by_route(&catalogue::CLIENT_DISCONNECTS, &self.disconnects);
        by_route(&catalogue::BROKEN_ANSWERS, &self.aborted);
        by_route(&catalogue::ERROR_EVENTS, &self.error_events);
        let retries = families.family(&catalogue::RETRIES);
        for (reason, name) in RetryReason::ALL {
            retries.count(&[name], self.retries.total(reason as usize));
        }
        let unplaced = families.family(&catalogue::UNPLACED_REQUESTS);
        for shortage in Shortage::ALL {
            unplaced.count(&[shortage.as_str()], self.unplaced.total(shortage as usize));
        }
        let mut histograms = |metric: &'static Metric, histograms: &[DurationHistogram]| {
            let family = families.family(metric);
            for (route, histogram) in Route::MEASURED.into_iter().zip(histograms) {
                let snapshot = histogram.snapshot();
                if snapshot.count > 0 {
                    family.histogram(&[route.name()], snapshot);
                }
            }
        };
        histograms(&catalogue::REQUEST_DURATION, &self.duration);
        histograms(&catalogue::FIRST_BYTE, &self.first_byte);
        self.models.tell(families);
        let refused = families.family(&catalogue::REFUSED_REQUESTS);
        for (code, total) in &*self.refused.lock() {
            refused.count(&[code], *total);
        }
    }
}

fn tell_prefix_index(backends: &Backends, families: &mut Families) {
    let Some(stats) = backends.prefix_index().map(|index| index.stats()) else { return };
    families.family(&catalogue::PREFIX_INDEX_BYTES).gauge(&[], count(stats.bytes));
    families.family(&catalogue::PREFIX_INDEX_KEPT_BESIDE).gauge(&[], count(stats.kept_beside));
    let blocks = families.family(&catalogue::PREFIX_INDEX_BLOCKS);
    blocks.gauge(&["sent"], count(stats.sent_blocks));
    blocks.gauge(&["reported"], count(stats.reported_blocks));
    families.family(&catalogue::PREFIX_INDEX_EVICTED).count(&[], stats.evicted_blocks);
    families.family(&catalogue::PREFIX_INDEX_REFUSED).count(&[], stats.refused_blocks);
}

fn tell_workers(backends: &Weak<Backends>, families: &mut Families) {
    let Some(backends) = backends.upgrade() else { return };
    tell_prefix_index(&backends, families);
    let snapshot = backends.snapshot();
    let mut gauge = |metric: &'static Metric, value: &dyn Fn(&Target) -> f64| {
        let family = families.family(metric);
        for target in snapshot.targets() {
            family.gauge(&[target.worker().url()], value(target));
        }
    };
    let flag = |is_set: bool| f64::from(u8::from(is_set));
    gauge(&catalogue::WORKER_IN_FLIGHT, &|target| count(target.worker().load()));
    gauge(&catalogue::WORKER_HEALTHY, &|target| flag(target.worker().is_healthy()));
    gauge(&catalogue::WORKER_DRAINING, &|target| flag(target.worker().is_draining()));
    gauge(&catalogue::WORKER_CIRCUIT_STATE, &|target| f64::from(target.circuit().state() as u8));
    gauge(&catalogue::WORKER_FULL, &|target| flag(target.fullness().is_full()));
    let latencies = families.family(&catalogue::WORKER_LATENCY);
    for target in snapshot.targets() {
        if let Some(ms) = target.worker().report().known().latency_ms {
            latencies.gauge(&[target.worker().url()], f64::from(ms) / 1000.0);
        }
    }
    let endpoints = endpoints(snapshot.targets());
    tell_endpoints(&endpoints, families);
    tell_feeds(&endpoints, families);
    let outcomes = families.family(&catalogue::WORKER_REQUESTS);
    for target in snapshot.targets() {
        for (verdict, name) in Verdict::ALL {
            outcomes.count(&[target.worker().url(), name], target.counted(verdict));
        }
    }
    let tokens = families.family(&catalogue::WORKER_TOKENS);
    for target in snapshot.targets() {
        for (model, totals) in target.tokens().told() {
            for (kind, total) in TOKEN_KINDS.into_iter().zip(totals) {
                tokens.count(&[target.worker().url(), &model, kind], total);
            }
        }
    }
}

/// What is behind the URLs of workers: one for all ranks of an engine.
fn endpoints(targets: &[Arc<Target>]) -> Vec<(String, &Endpoint)> {
    let first = targets.iter().filter(|target| target.rank_number().is_none_or(|rank| rank == 0));
    first.map(|target| (target.endpoint().url().to_string(), &**target.endpoint())).collect()
}

fn tell_endpoints(endpoints: &[(String, &Endpoint)], families: &mut Families) {
    let idle = families.family(&catalogue::WORKER_IDLE_CONNECTIONS);
    for (url, endpoint) in endpoints {
        idle.gauge(&[url], count(endpoint.pool().len()));
    }
    let again = families.family(&catalogue::WORKER_RECONNECTS);
    for (url, endpoint) in endpoints {
        again.count(&[url], endpoint.reconnects());
    }
    let ages = families.family(&catalogue::WORKER_REPORT_AGE);
    for (url, endpoint) in endpoints {
        if let Some(age) = endpoint.reports().age_secs() {
            ages.gauge(&[url], age);
        }
    }
    let failed = families.family(&catalogue::WORKER_REPORTS_FAILED);
    for (url, endpoint) in endpoints.iter().filter(|(_, endpoint)| endpoint.reports().age_secs().is_some()) {
        for (failure, name) in ReportFailure::ALL {
            failed.count(&[url, name], endpoint.reports().failures(failure));
        }
    }
}

fn tell_feeds(endpoints: &[(String, &Endpoint)], families: &mut Families) {
    // Of those that publish.
    let publishing = || {
        let all = endpoints.iter().filter(|(_, endpoint)| endpoint.feed().source_count() > 0);
        all.map(|(url, endpoint)| (url.as_str(), endpoint.feed()))
    };
    let sources = families.family(&catalogue::WORKER_KV_SOURCES);
    for (url, feed) in publishing() {
        sources.gauge(&[url, "known"], count(feed.source_count()));
        sources.gauge(&[url, "connected"], count(feed.connection_count()));
    }
    let events = families.family(&catalogue::WORKER_KV_EVENTS);
    for (url, feed) in publishing() {
        for (kind, name) in EventKind::ALL {
            events.count(&[url, name], feed.events(kind));
        }
    }
    let batches = families.family(&catalogue::WORKER_KV_BATCHES);
    for (url, feed) in publishing() {
        for (end, name) in BatchEnd::ALL {
            batches.count(&[url, name], feed.batches(end));
        }
    }
    let forgotten = families.family(&catalogue::WORKER_KV_FORGOTTEN);
    for (url, feed) in publishing() {
        forgotten.count(&[url], feed.times_forgotten());
    }
}

fn count(value: usize) -> f64 {
    f64::from(u32::try_from(value).unwrap_or(u32::MAX))
}
