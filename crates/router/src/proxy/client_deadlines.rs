//! The deadlines of one client's connection.
//!
//! A timer for each request would be registered and removed for each request. Instead a request
//! writes a few numbers here, and the sweeper of [`crate::proxy::clients`] compares them with the
//! clock a few times a second. Deadlines are therefore met a sweep late.

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::Poll;
use std::time::{Duration, Instant};

/// The request is out of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct OutOfTime;

/// Why an answer is not waited for any longer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum GaveUp {
    /// The request is out of time.
    OutOfTime,
    /// The worker has been silent for too long.
    Silent,
    /// The worker was found dead.
    Dead,
}

/// Since when a connection does what it does, and how long it may.
///
/// # Concurrency
///
/// The connection's task writes `since`, `busy`, `receiving`, `progress` and `patience`; the sweeper
/// reads them and writes the others. A deadline that is found just as its state ends names a `since`
/// that is over, so it cannot hit the next request.
#[derive(Debug)]
pub(crate) struct ClientDeadlines {
    /// Zero of its clock.
    epoch: Instant,
    /// Since when the connection is in its current state, microseconds after the epoch.
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
}

impl ClientDeadlines {
    /// Of a connection without a request. Its times count from `epoch`.
    pub(crate) fn new(epoch: Instant) -> Self {
        Self {
            epoch,
            since: AtomicU64::new(micros(epoch.elapsed())),
            busy: AtomicBool::new(false),
            late_for: AtomicU64::new(u64::MAX),
            idle_for: AtomicU64::new(u64::MAX),
            receiving: AtomicBool::new(false),
            progress: AtomicU64::new(0),
            patience: AtomicU64::new(u64::MAX),
            seen: AtomicU64::new(0),
            seen_at: AtomicU64::new(0),
            silent_for: AtomicU64::new(u64::MAX),
        }
    }

    /// A request begins.
    #[inline]
    pub(crate) fn begin(&self, now: Instant) {
        self.mark(now, true);
    }

    /// The request has ended: its answer is complete or given up.
    #[inline]
    pub(crate) fn end(&self, now: Instant) {
        self.mark(now, false);
    }

    fn mark(&self, now: Instant, busy: bool) {
        // One task writes, so the numbers of one connection grow without a lock. Relaxed: the
        // sweeper may see the change a sweep later.
        let since = micros(now.duration_since(self.epoch)).max(self.since.load(Ordering::Relaxed) + 1);
        self.since.store(since, Ordering::Relaxed);
        self.busy.store(busy, Ordering::Relaxed);
        self.wait_for(None);
    }

    /// From now on a worker is waited for, at most so long at a time.
    #[inline]
    pub(crate) fn wait_for(&self, limit: Option<Duration>) {
        // Relaxed: see `mark`.
        self.patience.store(limit.map_or(u64::MAX, micros), Ordering::Relaxed);
        self.heard();
    }

    /// Something came from the worker, or of the body. Costs no look at the clock: the sweeper has one.
    #[inline]
    pub(crate) fn heard(&self) {
        // Relaxed: one task writes.
        self.progress.store(self.progress.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
    }

    /// True if nothing has come from the worker for too long.
    #[inline]
    pub(crate) fn is_silent_now(&self) -> bool {
        // Relaxed: as in `is_late_now`.
        self.silent_for.load(Ordering::Relaxed) == self.progress.load(Ordering::Relaxed)
    }

    /// True while a request is not answered.
    pub(crate) fn is_busy(&self) -> bool {
        // Relaxed: see `mark`.
        self.busy.load(Ordering::Relaxed)
    }

    /// True if the current request is out of time.
    #[inline]
    pub(crate) fn is_late_now(&self) -> bool {
        // Relaxed: the wake-up that follows orders it.
        self.late_for.load(Ordering::Relaxed) == self.since.load(Ordering::Relaxed)
    }

    /// True if the connection has been without a request for too long.
    pub(crate) fn must_close(&self) -> bool {
        // Relaxed: see `is_late_now`.
        !self.is_busy() && self.idle_for.load(Ordering::Relaxed) == self.since.load(Ordering::Relaxed)
    }

    /// From now on a body is waited for, of which something has to come within `limit` each time;
    /// `None` if it came or is given up.
    pub(crate) fn expect_body(&self, limit: Option<Duration>) {
        // Relaxed: see `mark`.
        self.receiving.store(limit.is_some(), Ordering::Relaxed);
        self.wait_for(limit);
    }

    /// Waits for a worker or for a body until the current request is out of time, the worker has been
    /// silent for too long, or `is_dead`.
    ///
    /// # Errors
    ///
    /// [`GaveUp`] says which.
    ///
    /// # Cancel safety
    ///
    /// That of `work`, which is polled where it is: it may be large.
    pub(crate) fn waiting<T>(
        &self,
        mut work: Pin<&mut impl Future<Output = T>>,
        is_dead: impl Fn() -> bool,
    ) -> impl Future<Output = Result<T, GaveUp>> {
        std::future::poll_fn(move |cx| match work.as_mut().poll(cx) {
            Poll::Ready(done) => Poll::Ready(Ok(done)),
            Poll::Pending if self.is_late_now() => Poll::Ready(Err(GaveUp::OutOfTime)),
            Poll::Pending if is_dead() => Poll::Ready(Err(GaveUp::Dead)),
            Poll::Pending if self.is_silent_now() => Poll::Ready(Err(GaveUp::Silent)),
            Poll::Pending => Poll::Pending,
        })
    }

    /// Marks it if its worker has been silent for too long.
    pub(crate) fn is_silent(&self, now: u64) -> bool {
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
    pub(crate) fn is_late(&self, now: u64, request: u64, idle: u64) -> bool {
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

/// How often to look at deadlines of which this is the shortest.
pub(crate) fn look_interval(shortest: Duration) -> Duration {
    (shortest / 10).clamp(Duration::from_millis(10), Duration::from_secs(1))
}

/// The numbers are 64 bits wide.
pub(crate) fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
