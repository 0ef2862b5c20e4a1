//! What is behind the URL of a worker: how to reach it, and whether it is there.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use arc_swap::ArcSwapOption;
use http::{HeaderMap, HeaderValue, header};
use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::config::checked::{CircuitSettings, ProxySettings};
use crate::proxy::feed_log::FeedLog;
use crate::proxy::idle_connections::IdleConnections;
use crate::proxy::queue::RequestQueue;
use crate::proxy::report_log::ReportLog;
use crate::proxy::retry::{AfterIdle, SecondRun};
use sgl_upstream::{
    Address, HttpVersion, Outgoing, UpstreamAnswer, UpstreamConnection, UpstreamError, WorkerUrl,
};

/// What policies choose when they choose an endpoint: all of it, or one data-parallel rank.
pub(crate) trait LeadsHere: fmt::Debug + Send + Sync {
    /// Works out anew whether policies may choose it.
    fn refresh(&self);

    /// Requests in flight over it.
    fn load(&self) -> usize;
}

/// An engine with its connections and its health, whatever leads to it: one `Entrance`, or one for each of its
/// data-parallel ranks. It stays when the configuration says something else of its worker.
#[derive(Debug)]
pub struct Endpoint {
    address: Address,
    host: HeaderValue,
    /// How it is shown the key that it asks for.
    key: ArcSwapOption<HeaderValue>,
    pool: IdleConnections,
    circuit: CircuitSettings,
    passing: AtomicBool,
    /// Whether a check has found out if it passes, or nothing checks.
    judged: AtomicBool,
    drained: Notify,
    reconnects: AtomicU64,
    reports: ReportLog,
    feed: FeedLog,
    /// Whether it was found dead and not alive since.
    dead: AtomicBool,
    deaths: AtomicU64,
    /// Why its last check failed, or TLS with it.
    fault: Mutex<Option<String>>,
    /// Hears when a worker may be chosen, or may not any more.
    queue: Arc<RequestQueue>,
    /// Those that lead to it, and those that did and have requests in flight.
    entrances: Mutex<Vec<Weak<dyn LeadsHere>>>,
    /// Hears of a new one. For its keeper.
    has_opened: Notify,
}

impl Endpoint {
    /// Of a worker that passes its health checks, or not yet.
    pub fn new(
        address: Address,
        settings: &ProxySettings,
        passing: bool,
        queue: &Arc<RequestQueue>,
    ) -> Arc<Self> {
        let text = |value: &str| HeaderValue::from_str(value).unwrap_or(HeaderValue::from_static("invalid"));
        Arc::new(Self {
            host: text(&address.url().authority()),
            address,
            key: ArcSwapOption::from(settings.keys.worker.clone().map(Arc::new)),
            pool: IdleConnections::new(settings.upstream.clone()),
            circuit: settings.circuit.clone(),
            passing: AtomicBool::new(passing),
            judged: AtomicBool::new(passing),
            drained: Notify::new(),
            reconnects: AtomicU64::new(0),
            reports: ReportLog::default(),
            feed: FeedLog::default(),
            dead: AtomicBool::new(false),
            deaths: AtomicU64::new(0),
            fault: Mutex::default(),
            queue: Arc::clone(queue),
            entrances: Mutex::default(),
            has_opened: Notify::new(),
        })
    }

    /// One more leads to it.
    pub(crate) fn opened(&self, entrance: Arc<dyn LeadsHere>) {
        {
            let mut entrances = self.entrances.lock();
            entrances.retain(|entrance| entrance.strong_count() > 0);
            entrances.push(Arc::downgrade(&entrance));
        }
        // A check may have passed, or failed, since the entrance's worker was made.
        entrance.refresh();
        self.has_opened.notify_one();
    }

    /// Those that lead to it, and those that did and are still in use.
    fn entrances(&self) -> Vec<Arc<dyn LeadsHere>> {
        self.entrances.lock().iter().filter_map(Weak::upgrade).collect()
    }

    /// Waits until there is a new one. For one caller.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost.
    pub(crate) async fn has_opened(&self) {
        self.has_opened.notified().await;
    }

    /// Requests in flight to it, over all that lead to it.
    pub fn load_of_all(&self) -> usize {
        self.entrances().iter().map(|entrance| entrance.load()).sum()
    }

    pub(crate) fn circuit_settings(&self) -> &CircuitSettings {
        &self.circuit
    }

    pub(crate) fn queue(&self) -> &RequestQueue {
        &self.queue
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

    /// What its last check found, or an attempt to reach it by TLS: what is wrong, or nothing. Says so once.
    pub fn found(&self, fault: Option<String>) {
        let mut known = self.fault.lock();
        if *known == fault {
            return;
        }
        if let Some(error) = &fault {
            tracing::warn!(worker = %self.url(), error, "cannot be used");
        }
        *known = fault;
    }

    /// Why its last check failed, or TLS with it; `None` if they did not.
    pub fn fault(&self) -> Option<String> {
        self.fault.lock().clone()
    }

    /// Has it spoken to in this version of HTTP from now on.
    pub fn speak(&self, version: HttpVersion) {
        if self.address.version() != version {
            self.address.set_version(version);
            self.pool.clear();
        }
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

    /// It asks for this key from now on.
    pub(crate) fn set_key(&self, key: Option<HeaderValue>) {
        self.key.store(key.map(Arc::new));
    }

    /// Shows it the key that it asks for, if it does, in place of what a client shows.
    #[inline]
    pub(crate) fn show_key(&self, headers: &mut HeaderMap) {
        if let Some(key) = &*self.key.load() {
            headers.insert(header::AUTHORIZATION, HeaderValue::clone(key));
        }
    }

    /// Its idle connections.
    pub fn pool(&self) -> &IdleConnections {
        &self.pool
    }

    /// True if its health checks pass.
    pub fn is_passing(&self) -> bool {
        // Relaxed: `Entrance::refresh` reads it under its lock.
        self.passing.load(Ordering::Relaxed)
    }

    /// Says whether its health checks pass.
    pub fn set_passing(&self, passing: bool) {
        // Relaxed: see `is_passing`.
        self.passing.store(passing, Ordering::Relaxed);
        self.refresh_all();
        // Release: who sees that it is judged sees how.
        self.judged.store(true, Ordering::Release);
    }

    /// True if its first health check is over, or it has none.
    pub fn is_judged(&self) -> bool {
        // Acquire: see `set_passing`.
        self.judged.load(Ordering::Acquire)
    }

    /// Works out anew whether policies may choose what leads to it.
    pub fn refresh_all(&self) {
        self.entrances().iter().for_each(|entrance| entrance.refresh());
    }

    /// Something came of a request to it: those who are held may be asked again.
    #[inline]
    pub(crate) fn stir(&self) {
        self.queue.stir();
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
            if self.load_of_all() == 0 {
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
        let shared = self.pool.shared().take();
        let taken = shared.or_else(|| if second.is_left() { self.pool.take() } else { None });
        if let Some(connection) = taken {
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
        // Boxed: connecting is rare, and its future larger than all the rest of this one.
        let connection = Box::pin(self.open()).await?;
        // Lent, so that what a request is made of stays counted until there is an answer.
        let answer = connection.send(&make).await.inspect_err(|error| self.heed(error))?;
        if self.url().is_tls() {
            self.reached_by_tls();
        }
        Ok(answer)
    }

    /// Opens a connection. Where requests share one, the first opens it for all.
    async fn open(&self) -> Result<Box<UpstreamConnection>, UpstreamError> {
        let (limit, shared) = (self.pool.settings().connect_timeout, self.pool.shared());
        let _turn = if self.address.is_multiplexed() {
            let turn = shared.turn(limit).await;
            if let Some(connection) = shared.take() {
                return Ok(connection);
            }
            turn
        } else {
            None
        };
        let opened = UpstreamConnection::open(&self.address, limit).await;
        let connection = opened.inspect_err(|error| self.heed(error))?;
        if let Some(connection) = connection.shared() {
            shared.add(connection);
        }
        Ok(connection)
    }

    /// TLS with it has not failed, whatever it did before. What checks say stays.
    fn reached_by_tls(&self) {
        let mut fault = self.fault.lock();
        if fault.as_ref().is_some_and(|fault| fault.starts_with("TLS: ")) {
            *fault = None;
        }
    }

    /// Tells of TLS that fails, which nobody else would where there are no checks.
    fn heed(&self, error: &UpstreamError) {
        if matches!(error, UpstreamError::Tls { .. }) {
            self.found(Some(error.to_string()));
        }
    }
}
