//! Callers that wait for an instance, in the order of their coming.

use std::collections::VecDeque;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;

use parking_lot::Mutex;
use tokio::sync::oneshot;

/// A bounded first-come-first-served queue of callers. Not on the decision path: a caller comes
/// here only if no instance is free.
///
/// # Concurrency
///
/// `count` mirrors the queue's length so that others can look without the lock. It is raised
/// before the caller looks for an idle instance once more, and read after an instance is put
/// back; see [`crate::engine::pool::Pool`] for the pairing.
#[derive(Debug)]
pub(crate) struct Waiters<T> {
    queue: Mutex<Queue<T>>,
    count: AtomicUsize,
    limit: usize,
}

#[derive(Debug)]
struct Queue<T> {
    next_ticket: u64,
    waiting: VecDeque<(u64, oneshot::Sender<T>)>,
}

/// A place in the queue; leaving early gives it up.
#[derive(Debug)]
pub(crate) struct Place<'a, T> {
    waiters: &'a Waiters<T>,
    ticket: u64,
    served: oneshot::Receiver<T>,
}

impl<T> Waiters<T> {
    pub(crate) fn new(limit: usize) -> Self {
        let queue = Queue { next_ticket: 0, waiting: VecDeque::new() };
        Self { queue: Mutex::new(queue), count: AtomicUsize::new(0), limit }
    }

    /// How many callers wait.
    #[inline]
    pub(crate) fn count(&self) -> usize {
        // SeqCst: pairs with the store in `update`, see the type.
        self.count.load(Ordering::SeqCst)
    }

    /// Takes the last place; `Err` with the queue's length if it is full.
    pub(crate) fn join(&self) -> Result<Place<'_, T>, usize> {
        let mut queue = self.queue.lock();
        if queue.waiting.len() >= self.limit {
            return Err(queue.waiting.len());
        }
        let ticket = queue.next_ticket;
        queue.next_ticket += 1;
        let (serve, served) = oneshot::channel();
        queue.waiting.push_back((ticket, serve));
        self.update(&queue);
        Ok(Place { waiters: self, ticket, served })
    }

    /// Gives the first caller what `take` finds; false if there is no caller or nothing to give.
    /// A caller that has left is passed over, and what it was given goes to the next.
    pub(crate) fn serve(&self, take: impl FnOnce() -> Option<T>) -> bool {
        // What is given is taken and sent with the lock held, so that two servers cannot swap
        // the order of two callers. Neither step blocks or drops a guest.
        let mut queue = self.queue.lock();
        queue.waiting.retain(|(_, serve)| !serve.is_closed());
        let mut gift = if queue.waiting.is_empty() { None } else { take() };
        let mut served = false;
        while let Some(given) = gift.take() {
            let Some((_, serve)) = queue.waiting.pop_front() else {
                gift = Some(given);
                break;
            };
            match serve.send(given) {
                Ok(()) => {
                    served = true;
                    break;
                }
                Err(back) => gift = Some(back),
            }
        }
        self.update(&queue);
        drop(queue);
        // A gift without a taker is dropped here, outside the lock: its own drop puts it back.
        drop(gift);
        served
    }

    /// Sends everybody away: their places report `None`.
    pub(crate) fn dismiss(&self) {
        let mut queue = self.queue.lock();
        let dismissed = std::mem::take(&mut queue.waiting);
        self.update(&queue);
        drop(queue);
        drop(dismissed);
    }

    fn update(&self, queue: &Queue<T>) {
        self.count.store(queue.waiting.len(), Ordering::SeqCst);
    }

    fn leave(&self, ticket: u64) {
        let mut queue = self.queue.lock();
        queue.waiting.retain(|(known, _)| *known != ticket);
        self.update(&queue);
    }
}

impl<T> Place<'_, T> {
    /// Waits to be served; `None` if everybody was sent away.
    ///
    /// # Cancel safety
    ///
    /// Dropping the place gives it up; something that was already handed over is dropped with it.
    pub(crate) async fn served(&mut self) -> Option<T> {
        (&mut self.served).await.ok()
    }
}

impl<T> Drop for Place<'_, T> {
    fn drop(&mut self) {
        self.waiters.leave(self.ticket);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn callers_are_served_in_the_order_of_their_coming() {
        let waiters = Waiters::new(3);
        let mut first = waiters.join().unwrap();
        let mut second = waiters.join().unwrap();
        assert!(waiters.serve(|| Some("a")));
        assert!(waiters.serve(|| Some("b")));
        assert_eq!(first.served().await, Some("a"));
        assert_eq!(second.served().await, Some("b"));
        assert!(!waiters.serve(|| Some("c")), "nobody is left");
    }

    #[test]
    fn queue_beyond_its_limit_is_refused_and_a_place_given_up_is_free() {
        let waiters = Waiters::<()>::new(2);
        let first = waiters.join().unwrap();
        let _second = waiters.join().unwrap();
        assert_eq!(waiters.join().err(), Some(2));
        drop(first);
        assert_eq!(waiters.count(), 1);
        assert!(waiters.join().is_ok());
    }

    #[tokio::test]
    async fn caller_that_left_is_passed_over() {
        let waiters = Waiters::new(3);
        let gone = waiters.join().unwrap();
        let mut next = waiters.join().unwrap();
        drop(gone);
        assert!(waiters.serve(|| Some(1)));
        assert_eq!(next.served().await, Some(1));
    }

    #[tokio::test]
    async fn dismissed_callers_learn_it() {
        let waiters = Waiters::<u8>::new(1);
        let mut place = waiters.join().unwrap();
        waiters.dismiss();
        assert_eq!(place.served().await, None);
    }
}
