//! Admission: a bounded batch, a bounded first-come-first-served queue before it, and the guards
//! that free both.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::sim::counters::Changes;

/// The batch of one worker and its queue.
///
/// # Concurrency
/// The semaphore alone decides who enters: it hands a freed place to the longest waiting request,
/// and `try_acquire` finds none free while somebody waits. The numbers beside it are reports, and
/// `SeqCst` because [`Changes`] asks for it. Between a place being handed over and its new owner
/// running, the owner still counts as waiting.
#[derive(Debug)]
pub(crate) struct Batch {
    places: Arc<Semaphore>,
    max_queued: usize,
    running: AtomicUsize,
    waiting: AtomicUsize,
    running_tokens: AtomicU64,
    waiting_tokens: AtomicU64,
    changes: Arc<Changes>,
}

/// The queue is at its bound; nothing was queued.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct QueueFull;

impl Batch {
    pub(crate) fn new(max_running: usize, max_queued: usize, changes: Arc<Changes>) -> Self {
        Self {
            places: Arc::new(Semaphore::new(max_running)),
            max_queued,
            running: AtomicUsize::new(0),
            waiting: AtomicUsize::new(0),
            running_tokens: AtomicU64::new(0),
            waiting_tokens: AtomicU64::new(0),
            changes,
        }
    }

    /// Requests with a place.
    pub(crate) fn running(&self) -> usize {
        self.running.load(Ordering::SeqCst)
    }

    /// Requests in the queue.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting.load(Ordering::SeqCst)
    }

    /// Prompt and output tokens of the running requests.
    pub(crate) fn running_tokens(&self) -> u64 {
        self.running_tokens.load(Ordering::Relaxed)
    }

    /// Prompt tokens of the waiting requests.
    pub(crate) fn waiting_tokens(&self) -> u64 {
        self.waiting_tokens.load(Ordering::Relaxed)
    }

    /// Takes a place for a prompt of so many tokens, or waits for one.
    ///
    /// # Cancel safety
    /// Safe: dropping it leaves the queue, and a place that was being handed over goes to the
    /// next in line.
    pub(crate) async fn admit(self: &Arc<Self>, tokens: u64) -> Result<BatchPlace, QueueFull> {
        let permit = match Arc::clone(&self.places).try_acquire_owned() {
            Ok(permit) => permit,
            Err(_) => {
                let _waiting = Waiting::enter(self, tokens)?;
                // The semaphore is never closed; if it were, no place would ever come.
                Arc::clone(&self.places).acquire_owned().await.map_err(|_| QueueFull)?
            }
        };
        Ok(BatchPlace::take(Arc::clone(self), permit, tokens))
    }
}

/// A place in the queue, left when dropped.
struct Waiting<'a> {
    batch: &'a Batch,
    tokens: u64,
}

impl<'a> Waiting<'a> {
    fn enter(batch: &'a Batch, tokens: u64) -> Result<Self, QueueFull> {
        let bound = batch.max_queued;
        batch
            .waiting
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |waiting| {
                (waiting < bound).then_some(waiting + 1)
            })
            .map_err(|_| QueueFull)?;
        batch.waiting_tokens.fetch_add(tokens, Ordering::Relaxed);
        batch.changes.announce();
        Ok(Self { batch, tokens })
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.batch.waiting_tokens.fetch_sub(self.tokens, Ordering::Relaxed);
        self.batch.waiting.fetch_sub(1, Ordering::SeqCst);
        self.batch.changes.announce();
    }
}

/// A place in the batch, freed when dropped.
#[derive(Debug)]
pub(crate) struct BatchPlace {
    batch: Arc<Batch>,
    tokens: u64,
    _permit: OwnedSemaphorePermit,
}

impl BatchPlace {
    fn take(batch: Arc<Batch>, permit: OwnedSemaphorePermit, tokens: u64) -> Self {
        batch.running_tokens.fetch_add(tokens, Ordering::Relaxed);
        batch.running.fetch_add(1, Ordering::SeqCst);
        batch.changes.announce();
        Self { batch, tokens, _permit: permit }
    }

    /// Adds generated tokens to what this place holds.
    pub(crate) fn grow(&mut self, tokens: u64) {
        self.tokens = self.tokens.saturating_add(tokens);
        self.batch.running_tokens.fetch_add(tokens, Ordering::Relaxed);
    }
}

impl Drop for BatchPlace {
    fn drop(&mut self) {
        self.batch.running_tokens.fetch_sub(self.tokens, Ordering::Relaxed);
        self.batch.running.fetch_sub(1, Ordering::SeqCst);
        self.batch.changes.announce();
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::task::{Context, Poll, Waker};

    use super::*;

    fn batch(max_running: usize, max_queued: usize) -> Arc<Batch> {
        Arc::new(Batch::new(max_running, max_queued, Arc::default()))
    }

    /// Polls a future once, without a runtime.
    fn poll_once<F: Future>(future: std::pin::Pin<&mut F>) -> Poll<F::Output> {
        future.poll(&mut Context::from_waker(Waker::noop()))
    }

    fn state(batch: &Batch) -> (usize, usize, u64, u64) {
        (batch.running(), batch.waiting(), batch.running_tokens(), batch.waiting_tokens())
    }

    #[tokio::test]
    async fn admit_queues_beyond_the_batch_and_refuses_beyond_the_queue() {
        let batch = batch(1, 1);
        let mut first = batch.admit(10).await.unwrap();
        first.grow(5);
        let mut second = Box::pin(batch.admit(20));
        assert!(poll_once(second.as_mut()).is_pending());
        assert_eq!(state(&batch), (1, 1, 15, 20));
        assert_eq!(batch.admit(30).await.unwrap_err(), QueueFull);
        drop(first);
        let second = second.await.unwrap();
        assert_eq!(state(&batch), (1, 0, 20, 0));
        drop(second);
        assert_eq!(state(&batch), (0, 0, 0, 0));
    }

    #[tokio::test]
    async fn places_go_to_the_longest_waiting_request() {
        let batch = batch(1, 8);
        let first = batch.admit(1).await.unwrap();
        let mut second = Box::pin(batch.admit(1));
        let mut third = Box::pin(batch.admit(1));
        assert!(poll_once(second.as_mut()).is_pending());
        assert!(poll_once(third.as_mut()).is_pending());
        drop(first);
        assert!(poll_once(third.as_mut()).is_pending());
        let Poll::Ready(Ok(place)) = poll_once(second.as_mut()) else {
            panic!("the second request has no place");
        };
        drop(place);
        assert!(poll_once(third.as_mut()).is_ready());
    }

    #[tokio::test]
    async fn request_dropped_in_the_queue_leaves_it_and_loses_no_place() {
        let batch = batch(1, 8);
        let first = batch.admit(1).await.unwrap();
        let mut second = Box::pin(batch.admit(7));
        let mut third = Box::pin(batch.admit(1));
        assert!(poll_once(second.as_mut()).is_pending());
        assert!(poll_once(third.as_mut()).is_pending());
        // The place is handed to the second request, which goes away before it runs.
        drop(first);
        drop(second);
        let place = third.await.unwrap();
        assert_eq!(state(&batch), (1, 0, 1, 0));
        drop(place);
        assert_eq!(state(&batch), (0, 0, 0, 0));
    }
}
