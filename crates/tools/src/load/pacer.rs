//! Tells when requests are due: a thread of its own, because the timers of the async runtime are
//! exact to a millisecond only, which is more than many a latency that is measured.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use std::{io, thread};

use tokio::sync::mpsc;

use crate::load::arrivals::Arrival;

/// The thread sleeps at least so long: the system wakes it no more exactly, and at high rates it
/// then passes on several requests at a time. What it is late counts into the latency.
const SHORTEST_SLEEP: Duration = Duration::from_micros(50);

/// A request that is due.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Due {
    pub(crate) number: u64,
    pub(crate) at: Instant,
}

/// A running pacer. Dropped, it stops and waits for its thread, which ends at once.
#[derive(Debug)]
pub(crate) struct Pacer {
    due: mpsc::UnboundedReceiver<Due>,
    stopped: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Pacer {
    /// Starts to pass on arrivals, counted from `begin`.
    ///
    /// # Errors
    ///
    /// If there is no thread to be had.
    pub(crate) fn start(
        arrivals: impl Iterator<Item = Arrival> + Send + 'static,
        begin: Instant,
    ) -> io::Result<Self> {
        // Unbounded: what is due and not yet sent is what must not be forgotten. It is bounded by
        // the requests of a round.
        let (send, due) = mpsc::unbounded_channel();
        let stopped = Arc::new(AtomicBool::new(false));
        let thread = {
            let stopped = Arc::clone(&stopped);
            let pace = move || pace(arrivals, begin, &stopped, &send);
            thread::Builder::new().name("load-pacer".to_owned()).spawn(pace)?
        };
        Ok(Self { due, stopped, thread: Some(thread) })
    }

    /// The next request when it is due; none after the last.
    ///
    /// # Cancel safety
    ///
    /// Safe: nothing is lost.
    pub(crate) async fn next(&mut self) -> Option<Due> {
        self.due.recv().await
    }

    /// Stops, and gives what was due but not asked for.
    pub(crate) fn stop(&mut self) -> Vec<Due> {
        self.end();
        std::iter::from_fn(|| self.due.try_recv().ok()).collect()
    }

    fn end(&mut self) {
        // Release: pairs with the load in `pace`. The thread is woken after it.
        self.stopped.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            // A panic of it was reported when it happened.
            let _ = thread.join();
        }
    }
}

impl Drop for Pacer {
    fn drop(&mut self) {
        self.end();
    }
}

fn pace(
    arrivals: impl Iterator<Item = Arrival>,
    begin: Instant,
    stopped: &AtomicBool,
    send: &mpsc::UnboundedSender<Due>,
) {
    for arrival in arrivals {
        let Some(at) = begin.checked_add(arrival.at) else { return };
        loop {
            let left = at.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            // After the look at the clock, so that what is due is passed on even at the end.
            // Acquire: pairs with the store in `end`.
            if stopped.load(Ordering::Acquire) {
                return;
            }
            thread::park_timeout(left.max(SHORTEST_SLEEP));
        }
        if send.send(Due { number: arrival.number, at }).is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arrivals(seconds: &[u64]) -> Vec<Arrival> {
        let arrival = |(number, at): (u64, &u64)| Arrival { number, at: Duration::from_secs(*at) };
        (0..).zip(seconds).map(arrival).collect()
    }

    #[tokio::test]
    async fn what_is_due_comes_with_the_time_it_was_meant_for() {
        let begin = Instant::now();
        let mut pacer = Pacer::start(arrivals(&[0, 0]).into_iter(), begin).unwrap();
        for number in 0..2 {
            let due = pacer.next().await.unwrap();
            assert_eq!((due.number, due.at), (number, begin));
        }
        assert!(pacer.next().await.is_none());
    }

    #[tokio::test]
    async fn stopped_pacer_ends_in_the_middle_of_a_wait_and_gives_what_was_due() {
        let mut pacer = Pacer::start(arrivals(&[0, 0, 3600]).into_iter(), Instant::now()).unwrap();
        assert!(pacer.next().await.is_some());
        while pacer.due.is_empty() {
            thread::yield_now();
        }
        // Returns, although the thread waits for an hour.
        assert_eq!(pacer.stop().len(), 1);
        assert!(pacer.next().await.is_none());
    }
}
