//! The clients' connections: their deadlines and their end.
//!
//! A timer for each request would be registered and removed for each request, and a future that
//! waits for shutdown would take a lock at each wake-up. Instead every connection has a record
//! here, which a request only writes two numbers to; one sweeper looks at all of them a few times
//! a second and wakes those that are late. Deadlines are therefore met a sweep late.

use std::collections::HashMap;
use std::net::IpAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicU8;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::task::Context;
use std::task::Poll;
use std::task::Waker;
use std::time::Duration;
use std::time::Instant;

use http::HeaderValue;
use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::proxy::descriptors::connections_that_fit;
use crate::proxy::state::Proxy;

/// What the connections as a whole are doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Stage {
    /// Serving.
    Open = 0,
    /// Finishing what was begun.
    Draining = 1,
    /// Closing, whatever was begun.
    Closing = 2,
}

/// All clients' connections.
///
/// # Concurrency
///
/// The lock is taken when a connection comes or goes, by the sweeper and at shutdown.
#[derive(Debug)]
pub struct Clients {
    proxy: Arc<Proxy>,
    /// Zero of the records' clocks.
    epoch: Instant,
    stage: AtomicU8,
    pub(in crate::proxy) open: Mutex<HashMap<u64, Arc<Client>>>,
    next: AtomicU64,
    emptied: Notify,
    /// How many workers the last sweep knew to have died.
    deaths: AtomicU64,
    pub(in crate::proxy) left: Notify,
    pub(in crate::proxy) max_connections: usize,
}

/// One client's connection.
///
/// # Concurrency
///
/// The connection's task writes `since`, `busy`, `receiving`, `progress` and `patience`; the sweeper reads them
/// and writes the others. A deadline that is found just as its state ends names a `since` that is over,
/// so it cannot hit the next request.
#[derive(Debug)]
pub struct Client {
    number: u64,
    clients: Arc<Clients>,
    forwarded_for: HeaderValue,
    waker: Mutex<Option<Waker>>,
    /// Since when it is in its current state, microseconds after the epoch.
    pub(in crate::proxy) since: AtomicU64,
    busy: AtomicBool,
    /// The `since` of the request that is out of time.
    late_for: AtomicU64,
    /// The `since` of the idleness that lasts too long.
    pub(in crate::proxy) idle_for: AtomicU64,
    /// Whether the body of its request is still to come.
    pub(in crate::proxy) receiving: AtomicBool,
    /// Counts what comes from the worker, or of the body.
    pub(in crate::proxy) progress: AtomicU64,
    /// How long `progress` may stay the same, in microseconds.
    patience: AtomicU64,
    /// The `progress` that the sweeper saw last, and when it saw it first.
    pub(in crate::proxy) seen: AtomicU64,
    pub(in crate::proxy) seen_at: AtomicU64,
    /// The `progress` that has stayed the same for too long.
    pub(in crate::proxy) silent_for: AtomicU64,
    /// Whether somebody waits for bytes of the client, and so hears of its end.
    listening: AtomicBool,
    /// Whether its connection is to look for its end.
    look: AtomicBool,
    hung_up: AtomicBool,
}

/// The request is out of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutOfTime;

/// Why an answer is not waited for any longer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GaveUp {
    /// The request is out of time.
    OutOfTime,
    /// The worker has been silent for too long.
    Silent,
    /// The worker was found dead.
    Dead,
}

impl Clients {
    /// No connections yet.
    pub fn new(proxy: Arc<Proxy>) -> Arc<Self> {
        let max_connections = proxy.settings().max_connections.unwrap_or_else(connections_that_fit);
        Arc::new(Self {
            max_connections,
            proxy,
            epoch: Instant::now(),
            stage: AtomicU8::new(Stage::Open as u8),
            open: Mutex::default(),
            next: AtomicU64::new(0),
            deaths: AtomicU64::new(0),
            emptied: Notify::new(),
            left: Notify::new(),
        })
    }

    /// The data plane.
    pub fn proxy(&self) -> &Arc<Proxy> {
        &self.proxy
    }

    /// A record for a new connection; [`Client::leave`] ends it.
    pub fn enter(self: &Arc<Self>, peer: IpAddr) -> Arc<Client> {
        let address = peer.to_canonical().to_string();
        let client = Arc::new(Client {
            // Relaxed: only uniqueness matters.
            number: self.next.fetch_add(1, Ordering::Relaxed),
            clients: Arc::clone(self),
            forwarded_for: HeaderValue::from_str(&address).unwrap_or(HeaderValue::from_static("unknown")),
            waker: Mutex::new(None),
            since: AtomicU64::new(self.micros(Instant::now())),
            busy: AtomicBool::new(false),
            late_for: AtomicU64::new(u64::MAX),
            idle_for: AtomicU64::new(u64::MAX),
            receiving: AtomicBool::new(false),
            progress: AtomicU64::new(0),
            patience: AtomicU64::new(u64::MAX),
            seen: AtomicU64::new(0),
            seen_at: AtomicU64::new(0),
            silent_for: AtomicU64::new(u64::MAX),
            listening: AtomicBool::new(false),
            look: AtomicBool::new(false),
            hung_up: AtomicBool::new(false),
        });
        self.open.lock().insert(client.number, Arc::clone(&client));
        self.proxy.pressure().connected();
        client
    }

    /// What the connections are doing.
    pub fn is_at_least(&self, stage: Stage) -> bool {
        // Acquire: pairs with `advance`; a connection that enters after it sees it.
        self.stage.load(Ordering::Acquire) >= stage as u8
    }

    /// Goes on to the next stage and wakes every connection to see it.
    pub fn advance(&self, stage: Stage) {
        // Release: pairs with `is_at_least`.
        self.stage.fetch_max(stage as u8, Ordering::Release);
        self.open.lock().values().for_each(|client| client.wake());
    }

    /// Waits until no connection is open.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost.
    pub async fn emptied(&self) {
        loop {
            let emptied = self.emptied.notified();
            if self.open.lock().is_empty() {
                return;
            }
            emptied.await;
        }
    }

    /// How many connections are open.
    pub fn len(&self) -> usize {
        self.open.lock().len()
    }

    /// True if no connection is open.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Wakes connections that are late, for ever.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future ends the sweeping and nothing else.
    pub async fn sweep_for_ever(&self) {
        let settings = self.proxy.settings();
        let silence = [settings.silence.first_byte, settings.silence.between];
        let limits = silence.into_iter().flatten().chain([
            settings.request_timeout,
            settings.client_idle,
            settings.body_silence,
        ]);
        let shortest = limits.min().unwrap_or_default();
        let interval = (shortest / 10).clamp(Duration::from_millis(10), Duration::from_secs(1));
        loop {
            tokio::time::sleep(interval).await;
            self.sweep(self.micros(Instant::now()));
        }
    }

    fn sweep(&self, now: u64) {
        let micros = |duration: Duration| u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        let settings = self.proxy.settings();
        let (request, idle) = (micros(settings.request_timeout), micros(settings.client_idle));
        // A worker was found dead: whoever waits for it has to see that.
        let deaths = self.proxy.backends().deaths();
        // Relaxed: the sweeper's own.
        let wakes_all = self.deaths.swap(deaths, Ordering::Relaxed) != deaths;
        let is_due = |client: &&Arc<Client>| {
            let is_late = client.is_late(now, request, idle);
            let needs_look = client.needs_look();
            client.is_silent(now) || is_late || needs_look || (wakes_all && client.is_busy())
        };
        let late: Vec<Arc<Client>> = self.open.lock().values().filter(is_due).cloned().collect();
        late.iter().for_each(|client| client.wake());
    }

    /// Microseconds after the epoch.
    pub(in crate::proxy) fn micros(&self, now: Instant) -> u64 {
        u64::try_from(now.duration_since(self.epoch).as_micros()).unwrap_or(u64::MAX)
    }
}

impl Client {
    /// The data plane.
    pub fn proxy(&self) -> &Arc<Proxy> {
        &self.clients.proxy
    }

    /// All connections.
    pub fn clients(&self) -> &Arc<Clients> {
        &self.clients
    }

    /// Its address, as a header.
    pub fn forwarded_for(&self) -> &HeaderValue {
        &self.forwarded_for
    }

    /// A request begins.
    #[inline]
    pub fn begin(&self, now: Instant) {
        self.mark(now, true);
    }

    /// The request has ended: its answer is complete or given up.
    #[inline]
    pub fn end(&self, now: Instant) {
        self.mark(now, false);
    }

    fn mark(&self, now: Instant, busy: bool) {
        // One task writes, so the numbers of one connection grow without a lock. Relaxed: the
        // sweeper may see the change a sweep later.
        let since = self.clients.micros(now).max(self.since.load(Ordering::Relaxed) + 1);
        self.since.store(since, Ordering::Relaxed);
        self.busy.store(busy, Ordering::Relaxed);
        self.wait_for(None);
    }

    /// From now on a worker is waited for, at most so long at a time.
    #[inline]
    pub fn wait_for(&self, limit: Option<Duration>) {
        let micros = limit.map_or(u64::MAX, |limit| u64::try_from(limit.as_micros()).unwrap_or(u64::MAX));
        // Relaxed: see `mark`.
        self.patience.store(micros, Ordering::Relaxed);
        self.heard();
    }

    /// Something came from the worker, or of the body. Costs no look at the clock: the sweeper has one.
    #[inline]
    pub fn heard(&self) {
        // Relaxed: one task writes.
        self.progress.store(self.progress.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
    }

    /// True if nothing has come from the worker for too long.
    #[inline]
    pub fn is_silent_now(&self) -> bool {
        // Relaxed: as in `is_late_now`.
        self.silent_for.load(Ordering::Relaxed) == self.progress.load(Ordering::Relaxed)
    }

    /// True while a request is not answered.
    pub fn is_busy(&self) -> bool {
        // Relaxed: see `mark`.
        self.busy.load(Ordering::Relaxed)
    }

    /// True if the current request is out of time.
    #[inline]
    pub fn is_late_now(&self) -> bool {
        // Relaxed: the wake-up that follows orders it.
        self.late_for.load(Ordering::Relaxed) == self.since.load(Ordering::Relaxed)
    }

    /// True if the connection has been without a request for too long.
    pub fn must_close(&self) -> bool {
        // Relaxed: see `is_late_now`.
        !self.is_busy() && self.idle_for.load(Ordering::Relaxed) == self.since.load(Ordering::Relaxed)
    }

    /// Says whether somebody waits for bytes of the client.
    #[inline]
    pub fn set_listening(&self, listening: bool) {
        // Relaxed, as all of it: a sweep later is early enough.
        self.listening.store(listening, Ordering::Relaxed);
    }

    /// Asks its connection to look for the client's end, if nobody would hear of it.
    fn needs_look(&self) -> bool {
        let needs = self.is_busy() && !self.listening.load(Ordering::Relaxed);
        if needs {
            self.look.store(true, Ordering::Relaxed);
        }
        needs
    }

    /// True if its connection is to look for the client's end; once.
    #[inline]
    pub fn takes_look(&self) -> bool {
        self.look.load(Ordering::Relaxed) && self.look.swap(false, Ordering::Relaxed)
    }

    /// The client has hung up.
    pub fn hang_up(&self) {
        self.hung_up.store(true, Ordering::Relaxed);
    }

    /// True if the client was seen to have hung up in the middle of a request.
    #[inline]
    pub fn has_hung_up(&self) -> bool {
        self.is_busy() && self.hung_up.load(Ordering::Relaxed)
    }

    /// Reads the body of its request, as `work` does, of which something has to come now and then.
    ///
    /// # Errors
    ///
    /// [`OutOfTime`] if it does not come, or not in the time of the request.
    ///
    /// # Cancel safety
    ///
    /// That of `work`; the connection has to end then.
    pub async fn receive<T>(&self, work: impl Future<Output = T>) -> Result<T, OutOfTime> {
        // Relaxed: see `mark`.
        self.receiving.store(true, Ordering::Relaxed);
        self.wait_for(Some(self.proxy().settings().body_silence));
        let received = self.waiting(work, || false).await;
        self.receiving.store(false, Ordering::Relaxed);
        self.wait_for(None);
        received.map_err(|_| OutOfTime)
    }

    /// Waits for a worker or for a body until the current request is out of time, the worker has been silent for
    /// too long, or `is_dead`.
    ///
    /// # Errors
    ///
    /// [`GaveUp`] says which.
    ///
    /// # Cancel safety
    ///
    /// That of `work`.
    pub async fn waiting<T>(
        &self,
        work: impl Future<Output = T>,
        is_dead: impl Fn() -> bool,
    ) -> Result<T, GaveUp> {
        let mut work = pin!(work);
        std::future::poll_fn(|cx| match work.as_mut().poll(cx) {
            Poll::Ready(done) => Poll::Ready(Ok(done)),
            Poll::Pending if self.is_late_now() => Poll::Ready(Err(GaveUp::OutOfTime)),
            Poll::Pending if is_dead() => Poll::Ready(Err(GaveUp::Dead)),
            Poll::Pending if self.is_silent_now() => Poll::Ready(Err(GaveUp::Silent)),
            Poll::Pending => Poll::Pending,
        })
        .await
    }

    /// Tells the task that polls the connection; it is the same for the connection's life.
    pub fn set_waker(&self, cx: &Context<'_>) {
        *self.waker.lock() = Some(cx.waker().clone());
    }

    /// The connection has ended.
    pub fn leave(&self) {
        let mut open = self.clients.open.lock();
        open.remove(&self.number);
        self.clients.proxy.pressure().disconnected();
        self.clients.left.notify_waiters();
        if open.is_empty() {
            self.clients.emptied.notify_waiters();
        }
    }

    /// Has its connection look at what was marked.
    pub(in crate::proxy) fn wake(&self) {
        if let Some(waker) = &*self.waker.lock() {
            waker.wake_by_ref();
        }
    }

    /// Marks it if its worker has been silent for too long.
    fn is_silent(&self, now: u64) -> bool {
        // Relaxed: see `mark`. If `progress` grows in between, the mark names one that is over.
        let progress = self.progress.load(Ordering::Relaxed);
        if self.seen.swap(progress, Ordering::Relaxed) != progress {
            self.seen_at.store(now, Ordering::Relaxed);
            return false;
        }
        let waited = now.saturating_sub(self.seen_at.load(Ordering::Relaxed));
        let silent = self.is_busy() && waited > self.patience.load(Ordering::Relaxed);
        if silent {
            self.silent_for.store(progress, Ordering::Relaxed);
        }
        silent
    }

    /// Marks it if it is late.
    fn is_late(&self, now: u64, request: u64, idle: u64) -> bool {
        // Relaxed: see `mark`. `since` is read first: if the state changes in between, the mark
        // names a state that is over.
        let since = self.since.load(Ordering::Relaxed);
        let (limit, mark) = if self.is_busy() { (request, &self.late_for) } else { (idle, &self.idle_for) };
        let late = now.saturating_sub(since) > limit;
        if late {
            mark.store(since, Ordering::Relaxed);
        }
        late
    }
}
