//! What is behind the URL of a worker: how to reach it, and whether it may be chosen.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use http::HeaderValue;
use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::config::checked::ProxySettings;
use crate::proxy::circuit::Circuit;
use crate::proxy::feed_log::FeedLog;
use crate::proxy::fullness::Fullness;
use crate::proxy::idle_connections::IdleConnections;
use crate::proxy::queue::RequestQueue;
use crate::proxy::report_log::ReportLog;
use crate::proxy::retry::{AfterIdle, SecondRun};
use crate::proxy::verdict::Verdict;
use sgl_upstream::{Address, Outgoing, UpstreamAnswer, UpstreamConnection, UpstreamError, WorkerUrl};
use sglang_router_rs::core::{FleetWorker, Worker};

/// An engine with its connections, its circuit, its room, its health and its counters: all that stays
/// true when the configuration says something else of its worker.
///
/// # Concurrency
///
/// The `healthy` bit that policies see is the conjunction of four things that change on their
/// own: health checks pass, the circuit admits, it is not passed over as full, it is not draining.
/// Whoever changes one of them calls [`refresh`](Self::refresh), which works the bit out anew under
/// a lock, so that the last change always counts.
#[derive(Debug)]
pub struct Endpoint {
    /// Whose bit it is: the worker that is in the table, or was last.
    worker: Mutex<Arc<FleetWorker>>,
    address: Address,
    host: HeaderValue,
    name: HeaderValue,
    pool: IdleConnections,
    circuit: Circuit,
    fullness: Fullness,
    passing: AtomicBool,
    /// Whether a check has found out if it passes, or nothing checks.
    judged: AtomicBool,
    drained: Notify,
    verdicts: [AtomicU64; Verdict::ALL.len()],
    reconnects: AtomicU64,
    reports: ReportLog,
    feed: FeedLog,
    /// Whether it was found dead and not alive since.
    dead: AtomicBool,
    deaths: AtomicU64,
    /// Hears when the worker may be chosen, or may not any more.
    queue: Arc<RequestQueue>,
}

impl Endpoint {
    /// Of a worker that passes its health checks, or not yet.
    pub fn new(
        worker: Arc<FleetWorker>,
        url: WorkerUrl,
        settings: &ProxySettings,
        passing: bool,
        queue: &Arc<RequestQueue>,
    ) -> Self {
        let text = |value: &str| HeaderValue::from_str(value).unwrap_or(HeaderValue::from_static("invalid"));
        Self {
            host: text(&url.authority()),
            name: text(worker.url()),
            worker: Mutex::new(worker),
            address: Address::new(url),
            pool: IdleConnections::new(settings.upstream.clone()),
            circuit: Circuit::new(settings.circuit.clone()),
            fullness: Fullness::default(),
            passing: AtomicBool::new(passing),
            judged: AtomicBool::new(passing),
            drained: Notify::new(),
            verdicts: [const { AtomicU64::new(0) }; Verdict::ALL.len()],
            reconnects: AtomicU64::new(0),
            reports: ReportLog::default(),
            feed: FeedLog::default(),
            dead: AtomicBool::new(false),
            deaths: AtomicU64::new(0),
            queue: Arc::clone(queue),
        }
    }

    /// From now on it is this worker's, which has the numbers of the one before.
    pub fn hand_over(&self, worker: Arc<FleetWorker>) {
        *self.worker.lock() = worker;
        self.refresh();
    }

    /// Requests in flight to it.
    pub fn load(&self) -> usize {
        self.worker.lock().load()
    }

    /// How often it was found dead. Who waits for it remembers the number.
    pub fn deaths(&self) -> u64 {
        // Relaxed: who was woken for a death sees it, by way of the roster.
        self.deaths.load(Ordering::Relaxed)
    }

    /// Takes the result of a check. If it failed, tries to connect: a worker that is busy or ill may
    /// still finish its requests, but one that takes no connection is dead and will not. True if it is
    /// dead and was not before.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost but the finding.
    pub async fn checked(&self, passed: bool) -> bool {
        let dead = !passed && {
            let limit = self.pool.settings().connect_timeout;
            UpstreamConnection::open(&self.address, limit).await.is_err_and(|error| error.is_absence())
        };
        // Relaxed: one keeper writes, and who waits is told by way of the roster.
        let has_died = !self.dead.swap(dead, Ordering::Relaxed) && dead;
        if has_died {
            self.deaths.fetch_add(1, Ordering::Relaxed);
            tracing::warn!(worker = %self.url(), "takes no connections: what waits for it is given up");
        }
        has_died
    }

    /// Its URL.
    pub fn url(&self) -> &WorkerUrl {
        self.address.url()
    }

    /// Where it is.
    pub fn address(&self) -> &Address {
        &self.address
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
    pub fn pool(&self) -> &IdleConnections {
        &self.pool
    }

    /// Its circuit.
    pub fn circuit(&self) -> &Circuit {
        &self.circuit
    }

    /// Whether it has room.
    pub fn fullness(&self) -> &Fullness {
        &self.fullness
    }

    /// True if its health checks pass and its circuit admits.
    pub fn is_well(&self) -> bool {
        self.is_passing() && self.circuit.admits()
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
        // Release: who sees that it is judged sees how.
        self.judged.store(true, Ordering::Release);
    }

    /// True if its first health check is over, or it has none.
    pub fn is_judged(&self) -> bool {
        // Acquire: see `set_passing`.
        self.judged.load(Ordering::Acquire)
    }

    /// Works out anew whether policies may choose it.
    pub fn refresh(&self) {
        let has_changed = {
            let worker = self.worker.lock();
            let before = worker.is_healthy();
            worker.set_healthy(self.is_well() && !self.fullness.is_passed_over());
            worker.is_healthy() != before
        };
        if has_changed {
            self.queue.workers_changed();
        }
    }

    /// Keeps the `healthy` bit right where time alone changes it: an open circuit that lets a probe
    /// through, a full worker that may have room again. For one caller, for ever.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost.
    pub async fn recover(&self) {
        loop {
            tokio::select! {
                () = self.circuit.half_opened() => {
                    tracing::info!(worker = %self.url(), "circuit breaker: ready for a probe");
                }
                () = self.fullness.over() => {}
            }
            self.refresh();
        }
    }

    /// Something came of a request to it: those who are held may be asked again.
    #[inline]
    pub(crate) fn stir(&self) {
        self.queue.stir();
    }

    /// Counts what came of a request.
    pub fn count(&self, verdict: Verdict) {
        if let Some(counter) = self.verdicts.get(verdict as usize) {
            // Relaxed: a counter.
            counter.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// How many requests came to this, over all that were sent to it.
    pub fn counted(&self, verdict: Verdict) -> u64 {
        // Relaxed: a counter.
        self.verdicts.get(verdict as usize).map_or(0, |counter| counter.load(Ordering::Relaxed))
    }

    /// How many requests were sent twice, because an idle connection closed under the first.
    pub fn reconnects(&self) -> u64 {
        // Relaxed: a counter.
        self.reconnects.load(Ordering::Relaxed)
    }

    /// What became of the questions for its load.
    pub fn reports(&self) -> &ReportLog {
        &self.reports
    }

    /// What became of the events that it publishes.
    pub fn feed(&self) -> &FeedLog {
        &self.feed
    }

    /// Requests that it did its part for, and that it failed.
    pub fn outcomes(&self) -> (u64, u64) {
        let well = self.counted(Verdict::Served) + self.counted(Verdict::Refused);
        (well, self.counted(Verdict::Failed))
    }

    /// Perhaps no request is in flight any more: who waits for that looks.
    pub fn maybe_drained(&self) {
        self.drained.notify_waiters();
    }

    /// Waits until no request is in flight. For a worker that is draining.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost.
    pub async fn drained(&self) {
        loop {
            let drained = self.drained.notified();
            if self.load() == 0 {
                return;
            }
            drained.await;
        }
    }

    /// Sends a request over an idle connection or a new one. If an idle one ends before an answer,
    /// [`SecondRun::after_idle`] says whether the request is made anew for a new one; `has_other` tells
    /// it whether there is another worker. Where no second run is left, a new connection is used at
    /// once.
    ///
    /// # Errors
    ///
    /// [`UpstreamError`] says how far it came.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future closes the connection, which tells the worker to stop.
    pub async fn call(
        &self,
        make: impl Fn() -> Outgoing,
        second: &SecondRun,
        has_other: impl Fn() -> bool,
    ) -> Result<UpstreamAnswer, UpstreamError> {
        if second.is_left()
            && let Some(connection) = self.pool.take()
        {
            let error = match connection.send(&make).await {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            match second.after_idle(&error, has_other) {
                AfterIdle::Unsent => {}
                AfterIdle::SecondRun => {
                    // Relaxed: a counter.
                    self.reconnects.fetch_add(1, Ordering::Relaxed);
                }
                AfterIdle::Elsewhere => return Err(UpstreamError::Stale),
                AfterIdle::Failed => return Err(error),
            }
        }
        let limit = self.pool.settings().connect_timeout;
        // Boxed: connecting is rare, and its future larger than all the rest of this one.
        let connection = Box::pin(UpstreamConnection::open(&self.address, limit)).await?;
        // Lent, so that what a request is made of stays counted until there is an answer.
        connection.send(&make).await
    }
}
