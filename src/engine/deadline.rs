//! When a guest call must end, and what happens each time the epoch checks it.
//!
//! A budget is time in which the guest runs. Waiting for an instance beforehand, and for its executor
//! after it gave way, does not count.

use std::num::NonZeroU64;
use std::sync::Arc;
use std::time::{Duration, Instant};

use wasmtime::UpdateDeadline;

use crate::engine::background::give_thread_up;
use crate::engine::clock::{CallMark, Clock};

/// Ticks after which a call is first checked. With one, a call of a microsecond that meets the end of a
/// tick would be checked; on a fiber it would yield, and hold its instance for a turn of the executor.
const FIRST_LOOK: u64 = 2;

/// Deadline of one guest call, in epoch ticks.
///
/// The guest may run for at least its budget and less than the budget + 2 ticks, plus the
/// ticker's scheduling delay. Never 0: zero would trap before the first instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Ticks(NonZeroU64);

impl Ticks {
    /// Rounds `budget` up to whole ticks, then adds the tick already in progress.
    pub(crate) fn covering(budget: Duration, tick: Duration) -> Self {
        let whole = budget.as_nanos().div_ceil(tick.as_nanos().max(1));
        // Capped at u32: the engine adds this to its epoch and must not overflow.
        let whole = u32::try_from(whole).unwrap_or(u32::MAX);
        Self(NonZeroU64::MIN.saturating_add(u64::from(whole)))
    }

    /// The number of ticks.
    pub(crate) fn get(self) -> u64 {
        self.0.get()
    }
}

/// How long a guest may run in one call: as time, and in ticks of the clock that checks it.
#[derive(Clone, Copy, Debug)]
pub struct Allowance {
    total: Duration,
    ticks: Ticks,
}

impl Allowance {
    /// An allowance of `total`.
    pub(crate) fn new(total: Duration, clock: &Clock) -> Self {
        Self { total, ticks: Ticks::covering(total, clock.tick()) }
    }

    /// The same as time.
    pub(crate) fn total(self) -> Duration {
        self.total
    }
}

/// An allowance that runs since a call began.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Budget {
    /// The whole budget.
    total: Duration,
    /// The clock's tick in which it began.
    began_at: u64,
    ticks: u64,
}

impl Budget {
    /// An allowance that starts now.
    #[inline]
    pub(crate) fn start(clock: &Clock, allowance: Allowance) -> Self {
        Self { total: allowance.total, began_at: clock.now(), ticks: allowance.ticks.get() }
    }

    /// Ticks after which the guest is first checked.
    #[inline]
    pub(crate) fn first_look(&self) -> u64 {
        self.ticks.min(FIRST_LOOK)
    }
}

/// How the guest of a call runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Stack {
    /// On the stack of a caller that blocks.
    #[default]
    Caller,
    /// On the stack of a thread that drives other futures too: it cannot yield, but lets another thread
    /// take those over.
    Polled,
    /// On a fiber: it yields to the executor at every tick.
    Fiber,
}

/// The deadline of the call that a store is in.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Deadline {
    stack: Stack,
    budget: Budget,
    /// The latest moment at which the call can have begun. Set at the first check.
    began: Option<Instant>,
    /// How long the guest ran until it last gave way.
    used: Duration,
    gave_way: bool,
    /// Set when the deadline stopped the guest, to tell a timeout from other traps.
    pub(crate) expired: bool,
    /// Set when the call needed more than a tick.
    pub(crate) overran: bool,
}

impl Deadline {
    #[inline]
    pub(crate) fn new(stack: Stack, budget: Budget) -> Self {
        Self {
            stack,
            budget,
            began: None,
            used: Duration::ZERO,
            gave_way: false,
            expired: false,
            overran: false,
        }
    }

    /// The stack on which the call began.
    #[inline]
    pub(crate) fn stack(&self) -> Stack {
        self.stack
    }

    /// The whole budget of the call.
    #[inline]
    pub(crate) fn total(&self) -> Duration {
        self.budget.total
    }

    /// Since when the guest runs, or a little later; `None` if the tick in which it began has not ended.
    /// At the first check the clock still remembers that tick, however long the budget is. If the ticker
    /// woke late, the call may have begun at the end of that tick: it must not pay for the ticks that
    /// the ticker made up for.
    fn runs_since(&mut self, clock: &Clock, mark: &CallMark) -> Option<Instant> {
        if self.gave_way {
            return Some(mark.went_on(clock));
        }
        self.began = self.began.or_else(|| clock.end_of(self.budget.began_at));
        self.began
    }

    /// What is left of the budget; `None` while that is unknown, and then nearly all is left.
    pub(crate) fn left(&mut self, clock: &Clock, mark: &CallMark) -> Option<Duration> {
        let since = self.runs_since(clock, mark)?;
        let used = self.used + Instant::now().saturating_duration_since(since);
        Some(self.budget.total.saturating_sub(used))
    }

    /// Called by the epoch, at the ticks that [`Budget::first_look`] and this function ask for.
    #[cold]
    pub(crate) fn look(&mut self, clock: &Arc<Clock>, mark: &Arc<CallMark>) -> UpdateDeadline {
        self.overran = true;
        let Some(left) = self.left(clock, mark) else { return UpdateDeadline::Continue(1) };
        if left.is_zero() {
            self.expired = true;
            return UpdateDeadline::Interrupt;
        }
        if self.stack == Stack::Fiber {
            (self.used, self.gave_way) = (self.budget.total - left, true);
            mark.give_way();
            return UpdateDeadline::YieldCustom(1, Box::pin(gives_way(Arc::clone(clock), Arc::clone(mark))));
        }
        let ticks = |time: Duration| time.as_nanos().div_ceil(clock.tick().as_nanos().max(1));
        let mut next = ticks(left);
        if self.stack == Stack::Polled {
            give_thread_up();
            // Perhaps no other thread came in time: offers it again, each time after twice as long.
            next = next.min(ticks(self.budget.total - left).max(1));
        }
        UpdateDeadline::Continue(u64::from(u32::try_from(next).unwrap_or(u32::MAX)))
    }
}

/// Lets everybody else run first. A runtime of tokio also checks its sockets and timers before it comes
/// back; it would do so only every 61st time for a guest that is ready at once. Any other executor
/// treats this like any future that wakes itself.
async fn gives_way(clock: Arc<Clock>, mark: Arc<CallMark>) {
    tokio::task::yield_now().await;
    mark.go_on(&clock);
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    use parking_lot::Mutex;

    const TICK: Duration = Duration::from_micros(200);

    #[test]
    fn budget_that_begins_before_a_late_tick_is_not_cut_short() {
        // A ticker whose own `advance` holds it up for as long as the test wants.
        let (entered, in_advance) = mpsc::channel();
        let (go_on, held) = mpsc::channel::<()>();
        let held = Mutex::new(held);
        let advance = move |_| {
            if entered.send(()).is_ok() {
                let _ = held.lock().recv();
            }
        };
        let clock = Clock::start(TICK, advance).unwrap();
        let mark = clock.register();
        clock.begin(&mark);
        in_advance.recv().unwrap();
        // The ticker is late by 50 ticks when the call begins.
        std::thread::sleep(TICK * 50);
        let total = TICK * 20;
        let budget = Budget::start(&clock, Allowance::new(total, &clock));
        let began = Instant::now();
        let mut deadline = Deadline::new(Stack::Caller, budget);
        drop(go_on);
        drop(in_advance);
        while !matches!(deadline.look(&clock, &mark), UpdateDeadline::Interrupt) {}
        assert!(began.elapsed() >= total, "{:?} of {total:?}", began.elapsed());
        clock.end(&mark);
        clock.stop();
    }

    #[test]
    fn time_in_which_the_executor_does_not_come_back_is_not_the_guests() {
        let clock = Clock::start(TICK, |_| ()).unwrap();
        let mark = clock.register();
        clock.begin(&mark);
        // So long that no machine keeps this thread from running for as long.
        let total = Duration::from_secs(1);
        let budget = Budget::start(&clock, Allowance::new(total, &clock));
        let mut deadline = Deadline::new(Stack::Fiber, budget);
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        let first = loop {
            match deadline.look(&clock, &mark) {
                UpdateDeadline::Continue(_) => std::thread::yield_now(),
                other => break other,
            }
        };
        let UpdateDeadline::YieldCustom(_, mut way) = first else { panic!("it has run for no time") };
        assert!(way.as_mut().poll(&mut context).is_pending());
        assert!(mark.gave_way());
        // The executor has other things to do, for more than the budget.
        std::thread::sleep(total + TICK);
        assert!(way.as_mut().poll(&mut context).is_ready());
        assert!(!mark.gave_way());
        assert!(matches!(deadline.look(&clock, &mark), UpdateDeadline::YieldCustom(..)));
        clock.end(&mark);
        clock.stop();
    }

    #[test]
    fn budget_is_covered_by_whole_ticks_and_the_one_in_progress() {
        let tick = Duration::from_millis(1);
        assert_eq!(Ticks::covering(Duration::from_millis(10), tick).get(), 11);
        assert_eq!(Ticks::covering(Duration::from_micros(1), tick).get(), 2);
        assert_eq!(Ticks::covering(Duration::ZERO, tick).get(), 1);
    }

    #[test]
    fn budget_beyond_the_epoch_counter_is_capped() {
        let ticks = Ticks::covering(Duration::MAX, Duration::from_nanos(1));
        assert_eq!(ticks.get(), u64::from(u32::MAX) + 1);
    }
}
