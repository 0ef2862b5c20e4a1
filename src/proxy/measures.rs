//! What the data plane counts.

use std::sync::Arc;
use std::sync::Weak;
use std::time::Duration;

use crate::core::Worker;
use crate::metrics::CounterSet;
use crate::metrics::DurationHistogram;
use crate::metrics::Families;
use crate::metrics::FamilyKind;
use crate::metrics::Metrics;
use crate::proxy::backends::Backends;
use crate::proxy::route::Route;
use crate::proxy::shortage::Shortage;
use crate::proxy::target::Target;
use crate::proxy::verdict::Verdict;

/// Status classes, as labels.
const CLASSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];

/// Why a request was tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum RetryReason {
    /// No connection to the worker.
    Connect,
    /// The connection broke before an answer.
    Broken,
    /// The worker answered with 502.
    Status,
    /// The worker is full: it answered with 429 or 503.
    Full,
    /// The worker answered with 500 or 504.
    Error,
    /// The worker gave no byte of an answer.
    Silent,
}

impl RetryReason {
    const ALL: [(Self, &'static str); 6] = [
        (Self::Connect, "connect"),
        (Self::Broken, "broken"),
        (Self::Status, "status"),
        (Self::Full, "full"),
        (Self::Error, "error"),
        (Self::Silent, "silent"),
    ];
}

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

    /// Has everything shown by `metrics`, that of the workers included.
    pub fn register(self: &Arc<Self>, backends: &Arc<Backends>, metrics: &Metrics) {
        let measures = Arc::clone(self);
        metrics.register(move |families| measures.tell(families));
        // Weak: the registry may outlive the data plane, and must not keep its tasks alive.
        let backends = Arc::downgrade(backends);
        metrics.register(move |families| tell_workers(&backends, families));
    }

    fn tell(&self, families: &mut Families) {
        let by_class = families.family("requests", "Answered requests", FamilyKind::Counter);
        for route in Route::MEASURED {
            for (class, name) in CLASSES.iter().enumerate() {
                let total = self.requests.total(route.position() * CLASSES.len() + class);
                if total > 0 {
                    by_class.count(&[("route", route.name()), ("status", name)], total);
                }
            }
        }
        let mut by_route = |name, help, counters: &CounterSet| {
            let family = families.family(name, help, FamilyKind::Counter);
            for route in Route::MEASURED {
                family.count(&[("route", route.name())], counters.total(route.position()));
            }
        };
        by_route("client_disconnects", "Clients that hung up before their answer", &self.disconnects);
        by_route("broken_answers", "Answers that broke off after their head", &self.aborted);
        by_route("error_events", "Streams in which an event told of an error", &self.error_events);
        let retries =
            families.family("retries", "Requests tried again on another worker", FamilyKind::Counter);
        for (reason, name) in RetryReason::ALL {
            retries.count(&[("reason", name)], self.retries.total(reason as usize));
        }
        let unplaced =
            families.family("unplaced_requests", "Requests that got no worker", FamilyKind::Counter);
        for shortage in Shortage::ALL {
            unplaced.count(&[("reason", shortage.as_str())], self.unplaced.total(shortage as usize));
        }
        let mut histograms = |name, help, histograms: &[DurationHistogram]| {
            let family = families.family(name, help, FamilyKind::Histogram);
            for (route, histogram) in Route::MEASURED.into_iter().zip(histograms) {
                let snapshot = histogram.snapshot();
                if snapshot.count > 0 {
                    family.histogram(&[("route", route.name())], snapshot);
                }
            }
        };
        histograms("request_duration_seconds", "Time to the last byte of an answer", &self.duration);
        histograms("first_byte_seconds", "Time to the first byte of an answer's body", &self.first_byte);
    }
}

fn tell_workers(backends: &Weak<Backends>, families: &mut Families) {
    let Some(backends) = backends.upgrade() else { return };
    let snapshot = backends.snapshot();
    let mut gauge = |name, help, value: &dyn Fn(&Target) -> f64| {
        let family = families.family(name, help, FamilyKind::Gauge);
        for target in snapshot.targets() {
            family.gauge(&[("worker", target.worker().url())], value(target));
        }
    };
    gauge("worker_in_flight", "Requests in flight to a worker", &|target| count(target.worker().load()));
    gauge("worker_healthy", "Whether policies may choose a worker: 0 or 1", &|target| {
        f64::from(u8::from(target.worker().is_healthy()))
    });
    gauge("worker_draining", "Whether a worker gets no new requests: 0 or 1", &|target| {
        f64::from(u8::from(target.worker().is_draining()))
    });
    gauge("worker_circuit_state", "Circuit breaker: 0 closed, 1 open, 2 half-open", &|target| {
        f64::from(target.circuit().state() as u8)
    });
    gauge("worker_full", "Whether a worker said that it is full, a moment ago: 0 or 1", &|target| {
        f64::from(u8::from(target.fullness().is_full()))
    });
    gauge("worker_idle_connections", "Idle connections to a worker", &|target| count(target.pool().len()));
    let again = families.family(
        "worker_reconnects",
        "Requests sent again because an idle connection closed under them",
        FamilyKind::Counter,
    );
    for target in snapshot.targets() {
        again.count(&[("worker", target.worker().url())], target.reconnects());
    }
    let outcomes = families.family("worker_requests", "Requests by worker and outcome", FamilyKind::Counter);
    for target in snapshot.targets() {
        for (verdict, name) in Verdict::ALL {
            let labels = [("worker", target.worker().url()), ("outcome", name)];
            outcomes.count(&labels, target.counted(verdict));
        }
    }
}

fn count(value: usize) -> f64 {
    f64::from(u32::try_from(value).unwrap_or(u32::MAX))
}
