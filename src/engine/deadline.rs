//! When a guest call must end, and what happens each time that the epoch looks at it.

use std::time::Duration;
use std::time::Instant;

use wasmtime::UpdateDeadline;

use crate::engine::clock::Clock;
use crate::types::budget::Ticks;

/// When a call must end.
#[derive(Clone, Copy, Debug, Default)]
pub struct Budget {
    /// The whole budget.
    pub(crate) total: Duration,
    /// The clock's tick in which it began.
    began_at: u64,
    /// The tick at which it is spent.
    ends_at: u64,
}

impl Budget {
    /// A budget that starts now.
    #[inline]
    pub(crate) fn start(clock: &Clock, total: Duration, ticks: Ticks) -> Self {
        let began_at = clock.now();
        Self { total, began_at, ends_at: began_at + ticks.get() }
    }

    /// Ticks until it is spent, at least 1.
    #[inline]
    pub(crate) fn ticks_left(&self, clock: &Clock) -> u64 {
        self.ends_at.saturating_sub(clock.now()).max(1)
    }

    /// The earliest moment at which all of it can be spent, once the tick has ended in which it
    /// began: the ticker may have been woken late, and the call have begun at that tick's end.
    fn not_before(&self, clock: &Clock) -> Option<Instant> {
        clock.end_of(self.began_at).map(|end| end + self.total)
    }

    /// What is left of it.
    pub(crate) fn left(&self, clock: &Clock) -> Duration {
        let Some(end) = self.not_before(clock) else { return self.total };
        let ticks = self.ends_at.saturating_sub(clock.now());
        let by_ticks = clock.tick().saturating_mul(u32::try_from(ticks).unwrap_or(u32::MAX));
        by_ticks.max(end.saturating_duration_since(Instant::now()))
    }
}

/// How the guest of a call runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Stack {
    /// On the caller's stack: it cannot yield.
    #[default]
    Caller,
    /// On a fiber: it yields to the executor at every tick.
    Fiber,
}

/// The deadline of the call that a store is in.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Deadline {
    stack: Stack,
    budget: Budget,
    /// Set at the first look.
    not_before: Option<Instant>,
    /// Set when the deadline stopped the guest, to tell a timeout from other traps.
    pub(crate) expired: bool,
    /// Set when the call needed more than a tick.
    pub(crate) overran: bool,
}

impl Deadline {
    #[inline]
    pub(crate) fn new(stack: Stack, budget: Budget) -> Self {
        Self { stack, budget, not_before: None, expired: false, overran: false }
    }

    /// The budget of the call.
    pub(crate) fn budget(&self) -> &Budget {
        &self.budget
    }

    /// Called by the epoch, at the ticks that [`Deadline`]'s owner and this function ask for.
    #[cold]
    pub(crate) fn look(&mut self, clock: &Clock) -> UpdateDeadline {
        self.overran = true;
        // At the first look the clock still remembers the tick, however long the budget is.
        self.not_before = self.not_before.or_else(|| self.budget.not_before(clock));
        let now = clock.now();
        let early = self.not_before.is_none_or(|moment| Instant::now() < moment);
        let ticks = match self.budget.ends_at.saturating_sub(now) {
            0 if !early => {
                self.expired = true;
                return UpdateDeadline::Interrupt;
            }
            // The ticker made up for a late wake-up at this call's cost.
            0 => 1,
            ticks if self.not_before.is_some() => ticks,
            // The tick in which it began has not ended: look again then.
            _ => 1,
        };
        match self.stack {
            Stack::Fiber => UpdateDeadline::Yield(1),
            Stack::Caller => UpdateDeadline::Continue(ticks),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    use parking_lot::Mutex;

    const TICK: Duration = Duration::from_micros(200);

    #[test]
    fn budget_that_begins_before_a_late_tick_is_not_cut_short() {
        // A ticker that is held up by its own `advance`, for as long as the test wants.
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
        let budget = Budget::start(&clock, total, Ticks::covering(total, TICK));
        let began = Instant::now();
        let mut deadline = Deadline::new(Stack::Caller, budget);
        drop(go_on);
        drop(in_advance);
        while !matches!(deadline.look(&clock), UpdateDeadline::Interrupt) {}
        assert!(began.elapsed() >= total, "{:?} of {total:?}", began.elapsed());
        clock.end(&mark);
        clock.stop();
    }
}
