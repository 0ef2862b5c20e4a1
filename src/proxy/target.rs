//! One worker as the data plane sees it: how to reach it, and whether it may be chosen.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::time::Duration;
use std::time::Instant;

use http::HeaderValue;
use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::config::checked::ProxySettings;
use crate::config::worker_url::WorkerUrl;
use crate::core::FleetWorker;
use crate::core::InFlight;
use crate::core::Worker;
use crate::policies::Chooser;
use crate::policies::Decision;
use crate::policies::Policy;
use crate::policies::RequestCompletion;
use crate::proxy::circuit::Circuit;
use crate::proxy::circuit::Pass;
use crate::proxy::pool::Pool;
use crate::proxy::upstream::Answer;
use crate::proxy::upstream::CallError;
use crate::proxy::upstream::Outgoing;
use crate::proxy::upstream::UpstreamConnection;

/// A worker with its connections, its circuit and its health.
///
/// # Concurrency
///
/// The `healthy` bit that policies see is the conjunction of three things that change on their
/// own: health checks pass, the circuit admits, it is not draining. Whoever changes one of them
/// calls [`refresh`](Self::refresh), which works the bit out anew under a lock, so that the last
/// change always counts.
#[derive(Debug)]
pub struct Target {
    worker: Arc<FleetWorker>,
    url: WorkerUrl,
    host: HeaderValue,
    name: HeaderValue,
    pool: Pool,
    circuit: Circuit,
    passing: AtomicBool,
    refreshing: Mutex<()>,
    drained: Notify,
    succeeded: AtomicU64,
    failed: AtomicU64,
}

impl Target {
    /// A worker that passes its health checks, or not yet.
    pub fn new(worker: Arc<FleetWorker>, url: WorkerUrl, settings: &ProxySettings, passing: bool) -> Self {
        let text = |value: &str| HeaderValue::from_str(value).unwrap_or(HeaderValue::from_static("invalid"));
        Self {
            host: text(&url.authority()),
            name: text(worker.url()),
            worker,
            url,
            pool: Pool::new(settings.upstream.clone()),
            circuit: Circuit::new(settings.circuit.clone()),
            passing: AtomicBool::new(passing),
            refreshing: Mutex::new(()),
            drained: Notify::new(),
            succeeded: AtomicU64::new(0),
            failed: AtomicU64::new(0),
        }
    }

    /// The worker.
    pub fn worker(&self) -> &Arc<FleetWorker> {
        &self.worker
    }

    /// Its address.
    pub fn url(&self) -> &WorkerUrl {
        &self.url
    }

    /// Its `host` header.
    pub fn host(&self) -> &HeaderValue {
        &self.host
    }

    /// Its URL, as a header.
    pub fn name(&self) -> &HeaderValue {
        &self.name
    }

    /// Its idle connections.
    pub fn pool(&self) -> &Pool {
        &self.pool
    }

    /// Its circuit breaker.
    pub fn circuit(&self) -> &Circuit {
        &self.circuit
    }

    /// True if its health checks pass.
    pub fn is_passing(&self) -> bool {
        // Relaxed: `refresh` reads it under its lock.
        self.passing.load(Ordering::Relaxed)
    }

    /// Says whether its health checks pass.
    pub fn set_passing(&self, passing: bool) {
        // Relaxed: see `is_passing`.
        self.passing.store(passing, Ordering::Relaxed);
        self.refresh();
    }

    /// Works out anew whether policies may choose it.
    pub fn refresh(&self) {
        let _one_at_a_time = self.refreshing.lock();
        self.worker.set_healthy(self.is_passing() && self.circuit.admits());
    }

    /// Requests that succeeded and that failed, as the circuit breaker counts them.
    pub fn outcomes(&self) -> (u64, u64) {
        // Relaxed: counters.
        (self.succeeded.load(Ordering::Relaxed), self.failed.load(Ordering::Relaxed))
    }

    /// Waits until no request is in flight. For a worker that is draining.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost.
    pub async fn drained(&self) {
        loop {
            let drained = self.drained.notified();
            if self.worker.load() == 0 {
                return;
            }
            drained.await;
        }
    }

    /// Sends a request over an idle connection or a new one. A request is made anew for each
    /// connection: one that the worker closed at the same moment is no failure of the worker.
    ///
    /// # Errors
    ///
    /// [`CallError`] says how far it came.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future closes the connection, which tells the worker to stop.
    pub async fn call(&self, make: impl Fn() -> Outgoing) -> Result<Answer, CallError> {
        if let Some(connection) = self.pool.take()
            && let Ok(answer) = connection.send(make()).await
        {
            return Ok(answer);
        }
        let connection = UpstreamConnection::open(&self.url, self.pool.settings().connect_timeout).await?;
        connection.send(make()).await
    }
}

/// A request that was placed at a worker. Until it is dropped it counts as in flight; when it is
/// dropped, whatever became of the request, the policy is told.
#[derive(Debug)]
pub struct Placement {
    /// `None` only while it is dropped.
    in_flight: Option<InFlight>,
    /// Who had chosen the worker.
    chooser: Chooser,
    target: Arc<Target>,
    pass: Pass,
    settled: bool,
    placed: Instant,
    first_byte: Option<Duration>,
    success: bool,
    /// The policy, if it listens: telling needs an allocation.
    listener: Option<Policy>,
}

impl Placement {
    /// `None` if the circuit breaker does not let the request through.
    pub fn new(target: &Arc<Target>, decision: Decision, policy: &Policy) -> Option<Self> {
        let pass = target.circuit.enter()?;
        if pass == Pass::Probe {
            target.refresh();
        }
        Some(Self {
            chooser: decision.chooser(),
            in_flight: Some(decision.into_in_flight()),
            target: Arc::clone(target),
            pass,
            settled: false,
            placed: Instant::now(),
            first_byte: None,
            success: false,
            listener: policy.wants_completions().then(|| policy.clone()),
        })
    }

    /// The worker.
    pub fn target(&self) -> &Arc<Target> {
        &self.target
    }

    /// The first byte of the answer's body came.
    pub fn first_byte(&mut self, now: Instant) {
        let after = now - self.placed;
        self.first_byte = Some(after);
        if self.success {
            self.target.worker.observe_latency(after.as_secs_f32() * 1e3);
        }
    }

    /// The client did not wait for the end.
    pub fn cut_off(&mut self) {
        self.success = false;
    }

    /// The worker did its part. The first outcome that is told counts.
    pub fn succeed(&mut self) {
        self.success = true;
        if std::mem::replace(&mut self.settled, true) {
            return;
        }
        // Relaxed: a counter.
        self.target.succeeded.fetch_add(1, Ordering::Relaxed);
        if self.target.circuit.succeed(self.pass) {
            self.changed("a probe succeeded");
        }
    }

    /// The worker did not do its part. Can follow a success: an answer that breaks off.
    pub fn fail(&mut self) {
        self.success = false;
        let pass = if std::mem::replace(&mut self.settled, true) { Pass::Ordinary } else { self.pass };
        // Relaxed: a counter.
        self.target.failed.fetch_add(1, Ordering::Relaxed);
        if self.target.circuit.fail(pass) {
            self.changed("too many requests failed");
        }
    }

    fn changed(&self, why: &str) {
        self.target.refresh();
        let state = self.target.circuit.state().as_str();
        tracing::warn!(worker = self.target.worker.url(), state, "circuit breaker: {why}");
    }
}

impl Drop for Placement {
    fn drop(&mut self) {
        if !self.settled && self.target.circuit.abandon(self.pass) {
            self.target.refresh();
        }
        drop(self.in_flight.take());
        if self.target.worker.is_draining() {
            self.target.drained.notify_waiters();
        }
        if let Some(policy) = &self.listener {
            policy.on_request_complete(&RequestCompletion {
                worker_url: self.target.worker.url().to_owned(),
                chooser: self.chooser,
                success: self.success,
                first_byte: self.first_byte,
                total: self.placed.elapsed(),
                prompt_tokens: None,
                completion_tokens: None,
            });
        }
    }
}
