//! What time it is for policies: the system's, or that of a simulation.
//!
//! A simulation of a fleet lets days pass in seconds. Policies, and what counts in what they see, must not
//! notice: ages, moving averages, entries that expire, pauses of a breaker, batches of outcomes. All of
//! that asks [`now`]. Budgets of calls, waits for instances and what is measured for operators are time of
//! this machine, whatever is simulated, and ask the system.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::marker::PhantomData;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

thread_local! {
    /// Of the thread and not of the process, so that several simulations run beside each other.
    static VIRTUAL: Cell<Option<Instant>> = const { Cell::new(None) };
    static TIMERS: RefCell<Vec<Timer>> = const { RefCell::new(Vec::new()) };
}

/// Work for later.
struct Timer {
    due: Instant,
    work: Box<dyn FnOnce()>,
}

/// A moment of this process before which nothing of it happened.
pub(crate) fn start() -> Instant {
    static START: OnceLock<Instant> = OnceLock::new();
    *START.get_or_init(Instant::now)
}

/// This moment.
#[inline]
pub(crate) fn now() -> Instant {
    VIRTUAL.get().unwrap_or_else(Instant::now)
}

/// True on a thread whose time is virtual.
pub(crate) fn is_virtual() -> bool {
    VIRTUAL.get().is_some()
}

/// Has work done on this thread once so much of its virtual time has passed.
pub(crate) fn later(after: Duration, work: impl FnOnce() + 'static) {
    let timer = Timer { due: now() + after, work: Box::new(work) };
    TIMERS.with_borrow_mut(|timers| {
        // Behind those of the same moment.
        let at = timers.partition_point(|other| other.due <= timer.due);
        timers.insert(at, timer);
    });
}

/// The time of this thread is a simulation's while this lives. It passes only as it is told to.
///
/// Everything that happens in it has to happen on this thread: what policies are asked, what they are
/// told, and what is noted of requests and workers. It begins at the same moment in each simulation, so
/// what plugins see of it (`now_ns`) is the same too.
pub struct VirtualTime(PhantomData<*const ()>);

impl VirtualTime {
    /// Time that has passed when it begins: some, so that what came before has a place in it.
    pub const BEGINNING: Duration = Duration::from_secs(3600);

    /// Begins, at [`BEGINNING`](Self::BEGINNING). A thread has one at a time: what another one had to do
    /// later is forgotten.
    #[expect(clippy::new_without_default, reason = "it is made for its effect")]
    pub fn new() -> Self {
        let time = Self(PhantomData);
        TIMERS.take();
        time.set(Self::BEGINNING);
        time
    }

    /// This moment, for those who are told when something happened.
    pub fn now(&self) -> Instant {
        now()
    }

    /// When the next work is due that somebody put off: counted as [`BEGINNING`](Self::BEGINNING) is.
    pub fn next_timer(&self) -> Option<Duration> {
        let due = TIMERS.with_borrow(|timers| timers.first().map(|timer| timer.due))?;
        Some(due.saturating_duration_since(start()))
    }

    /// Lets time pass until then, and what is due by then be done at its time.
    pub fn advance(&self, to: Duration) {
        let end = start() + to;
        while let Some(Timer { due, work }) = TIMERS.with_borrow_mut(|timers| {
            let is_due = timers.first().is_some_and(|timer| timer.due <= end);
            is_due.then(|| timers.remove(0))
        }) {
            VIRTUAL.set(Some(due));
            work();
        }
        self.set(to);
    }

    fn set(&self, to: Duration) {
        VIRTUAL.set(Some(start() + to));
    }
}

impl Drop for VirtualTime {
    fn drop(&mut self) {
        VIRTUAL.set(None);
        TIMERS.take();
    }
}

impl fmt::Debug for VirtualTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("VirtualTime").field(&now().saturating_duration_since(start())).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn time_stands_still_until_it_is_told_to_pass_and_is_the_systems_again_afterwards() {
        let time = VirtualTime::new();
        let begin = now();
        assert_eq!(begin, time.now());
        assert_eq!(begin.duration_since(start()), VirtualTime::BEGINNING);
        std::thread::scope(|threads| {
            threads.spawn(|| assert!(!is_virtual(), "other threads have time of their own"));
        });
        time.advance(VirtualTime::BEGINNING + SECOND);
        assert_eq!(now() - begin, SECOND);
        drop(time);
        assert!(!is_virtual());
    }

    #[test]
    fn what_was_put_off_is_done_at_its_time_and_in_its_order() {
        let time = VirtualTime::new();
        let done = Rc::new(RefCell::new(Vec::new()));
        let note = |after: u32, name: &'static str| {
            let done = Rc::clone(&done);
            later(SECOND * after, move || done.borrow_mut().push((name, now())));
        };
        note(2, "second");
        note(1, "first");
        note(2, "third");
        let begin = now();
        assert_eq!(time.next_timer(), Some(VirtualTime::BEGINNING + SECOND));
        time.advance(VirtualTime::BEGINNING + SECOND * 3);
        assert_eq!(time.next_timer(), None);
        let at = |after: u32| begin + SECOND * after;
        assert_eq!(*done.borrow(), [("first", at(1)), ("second", at(2)), ("third", at(2))]);
    }

    #[test]
    fn what_another_simulation_put_off_is_forgotten() {
        let time = VirtualTime::new();
        later(SECOND, || panic!("its time is over"));
        drop(time);
        let time = VirtualTime::new();
        time.advance(VirtualTime::BEGINNING + SECOND);
    }
}
