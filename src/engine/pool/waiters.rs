//! Callers that wait for something that others have now, in the order of arrival.
//!
//! ```text
//!  join ──► waiting ── something came back: woken ──► tries ── got it ──► gone
//!              ▲                                        │ somebody who ran was faster
//!              ├──────────── fewer than LOSSES ─────────┤
//!              │                                        ▼
//!              └ (first in line)                      owed ── the next is handed over ──► gone
//! ```
//!
//! A running caller may take what is free although others wait: something handed to a task that does not
//! run lies idle until its executor gets to it, and with thousands of tasks everything would lie idle
//! while everybody waits. A caller that lost too often for chance is handed the next thing.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};

use parking_lot::Mutex;

use crate::engine::pool::line::Links;
use crate::engine::pool::queue::{Caller, CallerStanding, Queue};

/// A bounded queue of callers. Not on the decision path: a caller comes here only if nothing is free.
///
/// # Concurrency
///
/// `count` mirrors the number of callers, so that others can read it without the lock. It is raised
/// before the caller tries once more, and read after something is put back; see
/// [`crate::engine::pool::Pool`] for the pairing. A caller tries and goes back to waiting under the
/// lock, and whoever puts something back takes the lock to wake the next, so no wake-up is lost. A
/// caller that was woken and leaves wakes the next.
#[derive(Debug)]
pub(crate) struct Waiters<T> {
    queue: Mutex<Queue<T>>,
    count: AtomicUsize,
    limit: usize,
}

/// A place in the queue; leaving early gives it up.
#[derive(Debug)]
pub(crate) struct Place<'a, T> {
    waiters: &'a Waiters<T>,
    key: usize,
    era: u64,
}

impl<T> Waiters<T> {
    pub(crate) fn new(limit: usize) -> Self {
        Self { queue: Mutex::new(Queue::new(0)), count: AtomicUsize::new(0), limit }
    }

    /// How many callers wait, including those that were woken but have not tried yet.
    #[inline]
    pub(crate) fn count(&self) -> usize {
        // SeqCst: pairs with the store in `update`, see the type.
        self.count.load(Ordering::SeqCst)
    }

    /// Takes the last place; `Err` with the number of callers if there is none left.
    pub(crate) fn join(&self) -> Result<Place<'_, T>, usize> {
        let mut queue = self.queue.lock();
        if queue.callers.len() >= self.limit {
            return Err(queue.callers.len());
        }
        let Queue { callers, waiting, era, .. } = &mut *queue;
        let links = Links::default();
        let caller = Caller { links, standing: CallerStanding::Waiting, waker: None, lost: 0, gift: None };
        let key = callers.insert(caller);
        waiting.enter_last(callers, key);
        let place = Place { waiters: self, key, era: *era };
        self.update(&queue);
        Ok(place)
    }

    /// Something came back: wakes the first caller to try, or hands it what `take` finds if it is
    /// owed that.
    pub(crate) fn serve(&self, take: impl FnOnce() -> Option<T>) {
        let mut queue = self.queue.lock();
        let owes = queue.owed.first().is_some() && !queue.handed;
        let waker = if owes { queue.hand_over(take) } else { queue.wake_next() };
        drop(queue);
        waker.into_iter().for_each(Waker::wake);
    }

    /// Turns everybody away: their places report `None`. What was handed over is dropped.
    pub(crate) fn dismiss(&self) {
        let mut queue = self.queue.lock();
        let next = Queue::new(queue.era + 1);
        let dismissed = std::mem::replace(&mut *queue, next);
        self.update(&queue);
        drop(queue);
        for (_, caller) in dismissed.callers {
            caller.waker.into_iter().for_each(Waker::wake);
            // What it was handed goes back.
            drop(caller.gift);
        }
    }

    fn update(&self, queue: &Queue<T>) {
        self.count.store(queue.callers.len(), Ordering::SeqCst);
    }
}

impl<T> Place<'_, T> {
    /// What this caller was handed, or else what `take` finds; `None` if everybody was turned away.
    /// Holds the lock of the queue, so `take` must not give anything back.
    ///
    /// # Cancel safety
    ///
    /// Dropping the place gives it up, and drops what was handed over already.
    pub(crate) fn poll(
        &mut self,
        context: &mut Context<'_>,
        mut take: impl FnMut() -> Option<T>,
    ) -> Poll<Option<T>> {
        let mut queue = self.waiters.queue.lock();
        if queue.era != self.era {
            return Poll::Ready(None);
        }
        let handed = queue.callers.get_mut(self.key).and_then(|caller| caller.gift.take());
        if handed.is_some() {
            queue.handed = false;
        }
        let Some(taken) = handed.or_else(&mut take) else {
            queue.lie_down(self.key, context.waker());
            return Poll::Pending;
        };
        queue.remove(self.key);
        // Matches no era until everybody is turned away: the caller has left this place.
        self.era = u64::MAX;
        let waker = queue.hand_over(take);
        self.waiters.update(&queue);
        drop(queue);
        waker.into_iter().for_each(Waker::wake);
        Poll::Ready(Some(taken))
    }
}

impl<T> Drop for Place<'_, T> {
    fn drop(&mut self) {
        let mut queue = self.waiters.queue.lock();
        if queue.era != self.era {
            return;
        }
        let Some(left) = queue.remove(self.key) else { return };
        if left.gift.is_some() {
            queue.handed = false;
        }
        // It was woken for something that it will not take.
        let waker = if left.standing == CallerStanding::Woken { queue.wake_next() } else { None };
        self.waiters.update(&queue);
        drop(queue);
        waker.into_iter().for_each(Waker::wake);
        // Outside the lock: dropping what was handed over puts it back.
        drop(left);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::engine::pool::queue::LOSSES;

    use std::sync::Arc;
    use std::task::Wake;

    /// A caller's waker that counts.
    #[derive(Default)]
    struct Bell(AtomicUsize);

    impl Wake for Bell {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn poll_once<T>(place: &mut Place<'_, T>, take: impl FnMut() -> Option<T>) -> Poll<Option<T>> {
        place.poll(&mut Context::from_waker(Waker::noop()), take)
    }

    fn waits(place: &mut Place<'_, u8>, bell: &Arc<Bell>) {
        let waker = Waker::from(Arc::clone(bell));
        assert_eq!(place.poll(&mut Context::from_waker(&waker), || None), Poll::Pending);
    }

    #[test]
    fn callers_are_woken_in_the_order_of_their_coming() {
        let waiters = Waiters::new(3);
        let bells: Vec<Arc<Bell>> = (0..3).map(|_| Arc::default()).collect();
        let mut places: Vec<_> = bells.iter().map(|_| waiters.join().unwrap()).collect();
        places.iter_mut().zip(&bells).for_each(|(place, bell)| waits(place, bell));
        for rung in 1..=3 {
            waiters.serve(|| panic!("nobody is owed anything"));
            let woken: Vec<usize> = bells.iter().map(|bell| bell.0.load(Ordering::Relaxed)).collect();
            assert_eq!(woken, (0..3).map(|bell| usize::from(bell < rung)).collect::<Vec<_>>());
        }
        assert_eq!(poll_once(&mut places[1], || Some(7)), Poll::Ready(Some(7)));
        assert_eq!(waiters.count(), 2);
    }

    #[test]
    fn caller_that_loses_again_and_again_is_handed_the_next() {
        let waiters = Waiters::new(3);
        let (first, second) = (Arc::<Bell>::default(), Arc::<Bell>::default());
        let (mut old, mut young) = (waiters.join().unwrap(), waiters.join().unwrap());
        waits(&mut old, &first);
        waits(&mut young, &second);
        for _ in 0..LOSSES {
            waiters.serve(|| panic!("not yet"));
            waits(&mut old, &first);
        }
        assert_eq!(second.0.load(Ordering::Relaxed), 0, "it stayed first in line");
        waiters.serve(|| Some(1));
        waiters.serve(|| panic!("one at a time"));
        assert_eq!(second.0.load(Ordering::Relaxed), 1);
        assert_eq!(poll_once(&mut old, || panic!("it has one")), Poll::Ready(Some(1)));
        assert_eq!(poll_once(&mut young, || Some(2)), Poll::Ready(Some(2)));
        assert_eq!(waiters.count(), 0);
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

    #[test]
    fn dismissed_callers_learn_it_and_touch_nothing_of_those_that_come_after() {
        let waiters = Waiters::<u8>::new(1);
        let bell = Arc::default();
        let mut place = waiters.join().unwrap();
        waits(&mut place, &bell);
        waiters.dismiss();
        assert_eq!(bell.0.load(Ordering::Relaxed), 1);
        let _next = waiters.join().unwrap();
        assert_eq!(poll_once(&mut place, || Some(1)), Poll::Ready(None));
        drop(place);
        assert_eq!(waiters.count(), 1);
    }

    /// A pool of `free` things and callers that do anything allowed in any order: nothing is ever free
    /// while all waiting callers sleep, nothing is lost, and nobody is left over.
    #[test]
    fn nothing_lies_idle_while_all_who_wait_sleep_whatever_they_do() {
        let seeds = if cfg!(miri) { 20 } else { 3000 };
        for seed in 0..seeds {
            let random = &mut fastrand::Rng::with_seed(seed);
            let things = random.usize(1..4);
            let (mut free, mut out) = (things, 0);
            let waiters = Waiters::<()>::new(6);
            let mut places: Vec<(Place<'_, ()>, Arc<Bell>, usize)> = Vec::new();
            for _ in 0..120 {
                let taking = |free: &mut usize| free.checked_sub(1).map(|left| *free = left);
                match random.u8(0..10) {
                    0..=2 => {
                        if let Ok(mut place) = waiters.join() {
                            let bell = Arc::<Bell>::default();
                            let waker = Waker::from(Arc::clone(&bell));
                            match place.poll(&mut Context::from_waker(&waker), || taking(&mut free)) {
                                Poll::Ready(taken) => out += usize::from(taken.is_some()),
                                Poll::Pending => places.push((place, bell, 0)),
                            }
                        }
                    }
                    // A running caller is faster.
                    3 | 4 => out += usize::from(taking(&mut free).is_some()),
                    5..=7 if out > 0 => {
                        (out, free) = (out - 1, free + 1);
                        waiters.serve(|| taking(&mut free));
                    }
                    // One that was woken is polled.
                    8 => {
                        let woken =
                            places.iter().position(|(_, bell, seen)| bell.0.load(Ordering::Relaxed) > *seen);
                        if let Some(index) = woken {
                            let (place, bell, seen) = &mut places[index];
                            *seen = bell.0.load(Ordering::Relaxed);
                            let waker = Waker::from(Arc::clone(bell));
                            if place.poll(&mut Context::from_waker(&waker), || taking(&mut free)).is_ready() {
                                out += 1;
                                drop(places.swap_remove(index));
                            }
                        }
                    }
                    // One leaves; what it was handed, if anything, goes back.
                    9 if !places.is_empty() => {
                        drop(places.swap_remove(random.usize(..places.len())));
                        let held = waiters.queue.lock().handed;
                        let back = things - free - out - usize::from(held);
                        for _ in 0..back {
                            free += 1;
                            waiters.serve(|| taking(&mut free));
                        }
                    }
                    _ => {}
                }
                let rung = places.iter().any(|(_, bell, seen)| bell.0.load(Ordering::Relaxed) > *seen);
                assert!(free == 0 || places.is_empty() || rung, "seed {seed}: {free} free, all sleep");
                assert_eq!(waiters.count(), places.len(), "seed {seed}");
            }
            drop(places);
            assert_eq!(waiters.count(), 0);
        }
    }
}
