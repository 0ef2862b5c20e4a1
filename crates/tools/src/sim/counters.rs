//! What a worker has done: totals, and the guard that counts one request.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use prometheus_client::metrics::histogram::Histogram;
use tokio::sync::Notify;
use tokio::time::Instant;

/// Upper bounds of SGLang's buckets for the time to the first token, in seconds.
const FIRST_TOKEN_BUCKETS: [f64; 18] =
    [0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 2.0, 4.0, 6.0, 8.0, 10.0, 20.0, 40.0, 60.0, 80.0, 100.0, 200.0, 400.0];
/// The same for whole requests.
const REQUEST_BUCKETS: [f64; 22] = [
    0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 2.0, 4.0, 6.0, 8.0, 10.0, 20.0, 40.0, 60.0, 80.0, 100.0, 200.0, 400.0,
    600.0, 1200.0, 1800.0, 2400.0,
];
/// The same between two tokens.
const TOKEN_BUCKETS: [f64; 23] = [
    0.002, 0.004, 0.006, 0.008, 0.010, 0.015, 0.020, 0.025, 0.030, 0.035, 0.040, 0.060, 0.080, 0.100, 0.200,
    0.400, 0.600, 0.800, 1.0, 2.0, 4.0, 6.0, 8.0,
];

/// Totals since the start.
///
/// # Concurrency
/// `Relaxed` for totals that are only ever reported; what [`Changes::until`] may wait for is
/// `SeqCst`, see there.
#[derive(Debug)]
pub(crate) struct Counters {
    requests: AtomicU64,
    in_flight: AtomicUsize,
    cancelled: AtomicU64,
    /// Failures that were asked for.
    pub(crate) failed: AtomicU64,
    /// Requests that found the queue full.
    pub(crate) overloaded: AtomicU64,
    pub(crate) prompt_tokens: AtomicU64,
    pub(crate) cached_tokens: AtomicU64,
    pub(crate) generated_tokens: AtomicU64,
    /// Time that prefills took.
    pub(crate) prefill_busy_us: AtomicU64,
    pub(crate) first_token: Histogram,
    pub(crate) between_tokens: Histogram,
    pub(crate) whole_request: Histogram,
    pub(crate) changes: Arc<Changes>,
}

impl Counters {
    pub(crate) fn new(changes: Arc<Changes>) -> Self {
        Self {
            requests: AtomicU64::new(0),
            in_flight: AtomicUsize::new(0),
            cancelled: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            overloaded: AtomicU64::new(0),
            prompt_tokens: AtomicU64::new(0),
            cached_tokens: AtomicU64::new(0),
            generated_tokens: AtomicU64::new(0),
            prefill_busy_us: AtomicU64::new(0),
            first_token: Histogram::new(FIRST_TOKEN_BUCKETS),
            between_tokens: Histogram::new(TOKEN_BUCKETS),
            whole_request: Histogram::new(REQUEST_BUCKETS),
            changes,
        }
    }

    /// Well-formed inference requests that arrived, whatever became of them.
    pub(crate) fn requests(&self) -> u64 {
        self.requests.load(Ordering::SeqCst)
    }

    /// Requests between arrival and the end of their answer.
    pub(crate) fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::SeqCst)
    }

    /// Requests whose client went away before the end.
    pub(crate) fn cancelled(&self) -> u64 {
        self.cancelled.load(Ordering::SeqCst)
    }
}

/// One request in flight: counted from [`open`](Self::open) until it is dropped, as cancelled
/// unless [`settle`](Self::settle) came first.
#[derive(Debug)]
pub(crate) struct Flight {
    counters: Arc<Counters>,
    number: u64,
    opened: Instant,
    settled: bool,
}

impl Flight {
    pub(crate) fn open(counters: Arc<Counters>) -> Self {
        let number = counters.requests.fetch_add(1, Ordering::SeqCst);
        counters.in_flight.fetch_add(1, Ordering::SeqCst);
        counters.changes.announce();
        Self { counters, number, opened: Instant::now(), settled: false }
    }

    /// Number of this request, from 0, in order of arrival.
    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    /// Records the time since arrival as the time to the first token.
    pub(crate) fn note_first_token(&self) {
        self.counters.first_token.observe(self.opened.elapsed().as_secs_f64());
    }

    /// Ends the request without an answer: refused or failed on purpose.
    pub(crate) fn settle(mut self) {
        self.settled = true;
    }

    /// Ends the request with its answer.
    pub(crate) fn complete(self) {
        self.counters.whole_request.observe(self.opened.elapsed().as_secs_f64());
        self.settle();
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        if !self.settled {
            self.counters.cancelled.fetch_add(1, Ordering::SeqCst);
        }
        self.counters.in_flight.fetch_sub(1, Ordering::SeqCst);
        self.counters.changes.announce();
    }
}

/// Lets a test wait until counters have reached a state, at the price of one load on the
/// request path while nobody waits.
///
/// # Orderings
/// A change writes its counter, then reads `watchers`; a watcher writes `watchers`, then reads the
/// counters. All four are `SeqCst`, so at least one side sees the other and no wake-up is lost.
#[derive(Debug, Default)]
pub(crate) struct Changes {
    watchers: AtomicUsize,
    notify: Notify,
}

impl Changes {
    /// Wakes watchers after a counter has changed.
    pub(crate) fn announce(&self) {
        if self.watchers.load(Ordering::SeqCst) > 0 {
            self.notify.notify_waiters();
        }
    }

    /// Waits until `reached` says so.
    ///
    /// # Cancel safety
    /// Safe: dropping it only stops the watching.
    pub(crate) async fn until(&self, reached: impl Fn() -> bool) {
        let _watching = Watching::start(&self.watchers);
        loop {
            let notified = self.notify.notified();
            tokio::pin!(notified);
            // Before the check: a change right after it must find this waiter.
            notified.as_mut().enable();
            if reached() {
                return;
            }
            notified.await;
        }
    }
}

struct Watching<'a>(&'a AtomicUsize);

impl<'a> Watching<'a> {
    fn start(watchers: &'a AtomicUsize) -> Self {
        watchers.fetch_add(1, Ordering::SeqCst);
        Self(watchers)
    }
}

impl Drop for Watching<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flight_counts_as_cancelled_only_if_it_was_not_settled() {
        let counters = Arc::new(Counters::new(Arc::default()));
        let first = Flight::open(Arc::clone(&counters));
        let second = Flight::open(Arc::clone(&counters));
        assert_eq!((first.number(), second.number()), (0, 1));
        assert_eq!(counters.in_flight(), 2);
        first.settle();
        assert_eq!((counters.in_flight(), counters.cancelled()), (1, 0));
        drop(second);
        assert_eq!((counters.in_flight(), counters.cancelled()), (0, 1));
        assert_eq!(counters.requests(), 2);
    }

    #[tokio::test]
    async fn until_wakes_on_the_change_it_waits_for() {
        let counters = Arc::new(Counters::new(Arc::default()));
        let flight = Flight::open(Arc::clone(&counters));
        let watched = Arc::clone(&counters);
        let watcher = tokio::spawn(async move {
            watched.changes.until(|| watched.in_flight() == 0).await;
        });
        tokio::task::yield_now().await;
        assert!(!watcher.is_finished());
        drop(flight);
        watcher.await.unwrap();
        assert_eq!(counters.changes.watchers.load(Ordering::SeqCst), 0);
    }
}
