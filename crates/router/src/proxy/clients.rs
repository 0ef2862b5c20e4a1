//! The clients' connections, all of them and each: who sweeps them, and how they end.
//!
//! A future that waits for shutdown would take a lock at each wake-up. Instead one sweeper looks at
//! all connections a few times a second, and wakes those that are late or have to see something.

use std::collections::HashMap;
use std::net::IpAddr;
use std::ops::Deref;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::task::{Context, Waker};
use std::time::Instant;

use http::HeaderValue;
use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::proxy::client_deadlines::{ClientDeadlines, OutOfTime, look_interval, micros};
use crate::proxy::data_plane::DataPlane;
use sgl_upstream::connections_that_fit;

/// What the connections as a whole are doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(crate) enum Stage {
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
pub(crate) struct Clients {
    proxy: Arc<DataPlane>,
    /// Zero of the connections' clocks.
    epoch: Instant,
    stage: AtomicU8,
    pub(in crate::proxy) open: Mutex<HashMap<u64, Arc<Client>>>,
    /// Requests of connections of HTTP/2: each has a record of its own.
    pub(in crate::proxy) streams: Mutex<HashMap<u64, Arc<Client>>>,
    next: AtomicU64,
    emptied: Notify,
    /// How many workers the last sweep knew to have died.
    deaths: AtomicU64,
    pub(in crate::proxy) left: Notify,
    pub(in crate::proxy) max_connections: usize,
}

/// One client's connection, or one request of a connection of HTTP/2. It has [`ClientDeadlines`].
#[derive(Debug)]
pub(crate) struct Client {
    number: u64,
    clients: Arc<Clients>,
    forwarded_for: HeaderValue,
    /// The connection that it is a request of.
    connection: Option<Arc<Client>>,
    /// Its requests at this moment, if it is a connection of HTTP/2. The lock is held while the first begins
    /// and the last ends, so that it is idle without any and only then.
    requests: Mutex<usize>,
    waker: Mutex<Option<Waker>>,
    deadlines: ClientDeadlines,
    /// Whether somebody waits for bytes of the client, and so hears of its end.
    listening: AtomicBool,
    /// Whether its connection is to look for its end.
    look: AtomicBool,
    hung_up: AtomicBool,
}

impl Clients {
    /// No connections yet.
    pub(crate) fn new(proxy: Arc<DataPlane>) -> Arc<Self> {
        let max_connections = proxy.settings().max_connections.unwrap_or_else(connections_that_fit);
        Arc::new(Self {
            max_connections,
            proxy,
            epoch: Instant::now(),
            stage: AtomicU8::new(Stage::Open as u8),
            open: Mutex::default(),
            streams: Mutex::default(),
            next: AtomicU64::new(0),
            deaths: AtomicU64::new(0),
            emptied: Notify::new(),
            left: Notify::new(),
        })
    }

    /// The data plane.
    pub(crate) fn proxy(&self) -> &Arc<DataPlane> {
        &self.proxy
    }

    /// A record for a new connection; [`Client::leave`] ends it.
    pub(crate) fn enter(self: &Arc<Self>, peer: IpAddr) -> Arc<Client> {
        let address = peer.to_canonical().to_string();
        let address = HeaderValue::from_str(&address).unwrap_or(HeaderValue::from_static("unknown"));
        let client = self.record(address, None);
        self.open.lock().insert(client.number, Arc::clone(&client));
        self.proxy.pressure().connected();
        client
    }

    fn record(self: &Arc<Self>, forwarded_for: HeaderValue, connection: Option<Arc<Client>>) -> Arc<Client> {
        Arc::new(Client {
            // Relaxed: only uniqueness matters.
            number: self.next.fetch_add(1, Ordering::Relaxed),
            clients: Arc::clone(self),
            forwarded_for,
            // hyper goes on reading a connection of HTTP/2, whatever its requests do.
            listening: AtomicBool::new(connection.is_some()),
            connection,
            requests: Mutex::new(0),
            waker: Mutex::new(None),
            deadlines: ClientDeadlines::new(self.epoch),
            look: AtomicBool::new(false),
            hung_up: AtomicBool::new(false),
        })
    }

    /// All records: connections, and requests of those of HTTP/2.
    pub(in crate::proxy) fn records(&self, is_meant: impl Fn(&Arc<Client>) -> bool) -> Vec<Arc<Client>> {
        let mut meant: Vec<_> =
            self.open.lock().values().filter(|client| is_meant(client)).cloned().collect();
        meant.extend(self.streams.lock().values().filter(|stream| is_meant(stream)).cloned());
        meant
    }

    fn is_empty(&self) -> bool {
        self.open.lock().is_empty() && self.streams.lock().is_empty()
    }

    /// What the connections are doing.
    pub(crate) fn is_at_least(&self, stage: Stage) -> bool {
        // Acquire: pairs with `advance`; a connection that enters after it sees it.
        self.stage.load(Ordering::Acquire) >= stage as u8
    }

    /// Goes on to the next stage and wakes every connection to see it.
    pub(crate) fn advance(&self, stage: Stage) {
        // Release: pairs with `is_at_least`.
        self.stage.fetch_max(stage as u8, Ordering::Release);
        self.records(|_| true).iter().for_each(|client| client.wake());
    }

    /// Waits until no connection is open.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost.
    pub(crate) async fn emptied(&self) {
        loop {
            let emptied = self.emptied.notified();
            if self.is_empty() {
                return;
            }
            emptied.await;
        }
    }

    /// How many connections are open.
    pub(crate) fn len(&self) -> usize {
        self.open.lock().len()
    }

    /// Wakes connections that are late, for ever.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future ends the sweeping and nothing else.
    pub(crate) async fn sweep_for_ever(&self) {
        let settings = self.proxy.settings();
        let silence = [settings.silence.first_byte, settings.silence.between];
        let limits = silence.into_iter().flatten().chain([
            settings.request_timeout,
            settings.client_idle,
            settings.body_silence,
        ]);
        let interval = look_interval(limits.min().unwrap_or_default());
        loop {
            tokio::time::sleep(interval).await;
            self.sweep(self.micros(Instant::now()));
        }
    }

    /// Microseconds after the epoch.
    pub(in crate::proxy) fn micros(&self, now: Instant) -> u64 {
        micros(now.duration_since(self.epoch))
    }

    fn sweep(&self, now: u64) {
        let settings = self.proxy.settings();
        let (request, idle) = (micros(settings.request_timeout), micros(settings.client_idle));
        // A worker was found dead: whoever waits for it has to see that.
        let deaths = self.proxy.backends().deaths();
        // Relaxed: the sweeper's own.
        let wakes_all = self.deaths.swap(deaths, Ordering::Relaxed) != deaths;
        let is_due = |client: &Arc<Client>| {
            let is_late = client.is_late(now, request, idle);
            let needs_look = client.needs_look();
            client.is_silent(now) || is_late || needs_look || (wakes_all && client.is_busy())
        };
        let late = self.records(is_due);
        late.iter().for_each(|client| client.wake());
    }
}

impl Deref for Client {
    type Target = ClientDeadlines;

    fn deref(&self) -> &ClientDeadlines {
        &self.deadlines
    }
}

impl Client {
    /// The data plane.
    pub(crate) fn proxy(&self) -> &Arc<DataPlane> {
        &self.clients.proxy
    }

    /// All connections.
    pub(crate) fn clients(&self) -> &Arc<Clients> {
        &self.clients
    }

    /// Its address, as a header.
    pub(crate) fn forwarded_for(&self) -> &HeaderValue {
        &self.forwarded_for
    }

    /// Says whether somebody waits for bytes of the client.
    #[inline]
    pub(crate) fn set_listening(&self, listening: bool) {
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
    pub(crate) fn takes_look(&self) -> bool {
        self.look.load(Ordering::Relaxed) && self.look.swap(false, Ordering::Relaxed)
    }

    /// The client has hung up.
    pub(crate) fn hang_up(&self) {
        self.hung_up.store(true, Ordering::Relaxed);
    }

    /// True if the client was seen to have hung up in the middle of a request.
    #[inline]
    pub(crate) fn has_hung_up(&self) -> bool {
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
    pub(crate) async fn receive<T>(&self, work: impl Future<Output = T>) -> Result<T, OutOfTime> {
        self.expect_body(Some(self.proxy().settings().body_silence));
        let received = self.waiting(pin!(work), || false).await;
        self.expect_body(None);
        received.map_err(|_| OutOfTime)
    }

    /// Tells the task that polls the connection; it is the same for the connection's life.
    pub(crate) fn set_waker(&self, cx: &Context<'_>) {
        *self.waker.lock() = Some(cx.waker().clone());
    }

    /// A record for one request of this connection; [`leave`](Self::leave) ends it.
    pub(crate) fn enter_stream(self: &Arc<Self>) -> Arc<Self> {
        let stream = self.clients.record(self.forwarded_for.clone(), Some(Arc::clone(self)));
        {
            let mut requests = self.requests.lock();
            if *requests == 0 {
                self.begin(Instant::now());
            }
            *requests += 1;
        }
        self.clients.streams.lock().insert(stream.number, Arc::clone(&stream));
        stream
    }

    /// The connection has ended, or the request.
    pub(crate) fn leave(&self) {
        match &self.connection {
            None => {
                self.clients.open.lock().remove(&self.number);
                self.clients.proxy.pressure().disconnected();
                self.clients.left.notify_waiters();
            }
            Some(connection) => {
                self.clients.streams.lock().remove(&self.number);
                let mut requests = connection.requests.lock();
                *requests -= 1;
                if *requests == 0 {
                    connection.end(Instant::now());
                }
            }
        }
        if self.clients.is_empty() {
            self.clients.emptied.notify_waiters();
        }
    }

    /// Has its connection look at what was marked.
    pub(in crate::proxy) fn wake(&self) {
        if let Some(waker) = &*self.waker.lock() {
            waker.wake_by_ref();
        }
    }
}
