//! Where asynchronous callers run the guest: on their own stack, or on a fiber that yields.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::engine::lane::Lane;

/// A timed decision shorter than this did not need a fiber.
const SHORT: Duration = Duration::from_micros(250);

/// An adaptive plugin first goes back to its caller's stack after this many short timed decisions in a
/// row. Each short stay there doubles the number.
const FIRST_CALM: u32 = 16;

/// A stay counts as long if it lasted this many times as long as the time on a fiber before it. A
/// machine that takes a thread away now and then thus costs at most a few percent of the time.
const LONG_STAY: u64 = 16;

/// The lane of one generation.
///
/// A call that needs more than a tick means one of two things: the guest takes long, or the machine took
/// its thread away. The first soon happens again and the second does not. So an adaptive plugin may go
/// back, but each time less readily if it does not last.
///
/// # Concurrency
///
/// All `Relaxed`: a call more or less on either lane is fine. Written only by calls that took long,
/// and by one decision in sixteen while an adaptive plugin is on a fiber.
#[derive(Debug)]
pub(crate) struct LaneChoice {
    /// False for a plugin that always needs a fiber.
    adaptive: bool,
    on_fiber: AtomicBool,
    /// How many more short decisions in a row it needs to go back.
    missing: AtomicU32,
    /// How many it needs in all.
    asked: AtomicU32,
    started: Instant,
    /// When it last went to a fiber, and when it came back: nanoseconds since `started`.
    left_at: AtomicU64,
    back_at: AtomicU64,
}

impl LaneChoice {
    pub(crate) fn new(adaptive: bool) -> Self {
        Self {
            adaptive,
            on_fiber: AtomicBool::new(!adaptive),
            missing: AtomicU32::new(0),
            asked: AtomicU32::new(FIRST_CALM),
            started: Instant::now(),
            left_at: AtomicU64::new(0),
            back_at: AtomicU64::new(0),
        }
    }

    /// How an asynchronous caller runs the guest.
    #[inline]
    pub(crate) fn lane(&self) -> Lane {
        if self.on_fiber.load(Ordering::Relaxed) { Lane::Fiber } else { Lane::Adaptive }
    }

    /// A call needed more than a tick.
    #[cold]
    pub(crate) fn took_long(&self) {
        self.took_long_at(self.now());
    }

    /// A decision was timed.
    #[cold]
    pub(crate) fn timed(&self, time: Duration) {
        if self.adaptive && self.on_fiber.load(Ordering::Relaxed) {
            self.timed_at(time, self.now());
        }
    }

    fn now(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    fn took_long_at(&self, now: u64) {
        if !self.adaptive {
            return;
        }
        let mut asked = self.asked.load(Ordering::Relaxed);
        if !self.on_fiber.swap(true, Ordering::Relaxed) {
            let back_at = self.back_at.load(Ordering::Relaxed);
            let away = back_at.saturating_sub(self.left_at.load(Ordering::Relaxed));
            let stayed_long = now.saturating_sub(back_at) >= away.saturating_mul(LONG_STAY);
            asked = if stayed_long { (asked / 2).max(FIRST_CALM) } else { asked.saturating_mul(2) };
            self.asked.store(asked, Ordering::Relaxed);
            self.left_at.store(now, Ordering::Relaxed);
        }
        self.missing.store(asked, Ordering::Relaxed);
    }

    fn timed_at(&self, time: Duration, now: u64) {
        if time >= SHORT {
            return self.took_long_at(now);
        }
        let missing = self.missing.load(Ordering::Relaxed).saturating_sub(1);
        self.missing.store(missing, Ordering::Relaxed);
        if missing == 0 {
            self.back_at.store(now, Ordering::Relaxed);
            self.on_fiber.store(false, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Short decisions, each a nanosecond after the one before, until it is back on the caller's
    /// stack.
    fn calm(lane: &LaneChoice, from: u64) -> u64 {
        (1..10_000)
            .find(|after| {
                lane.timed_at(Duration::from_micros(1), from + after);
                lane.lane() == Lane::Adaptive
            })
            .expect("it goes back")
    }

    #[test]
    fn adaptive_plugin_goes_back_less_and_less_readily() {
        let lane = LaneChoice::new(true);
        assert_eq!(lane.lane(), Lane::Adaptive);
        let mut now = 1000;
        for expected in [16, 32, 64] {
            lane.took_long_at(now);
            assert_eq!(lane.lane(), Lane::Fiber);
            assert_eq!(calm(&lane, now), expected);
            now += expected + 1;
        }
    }

    #[test]
    fn long_stay_on_the_callers_stack_makes_it_go_back_sooner_again() {
        let lane = LaneChoice::new(true);
        let mut now = 1000;
        for (stay, expected) in
            [(1, 16), (1, 32), (1, 64), (64 * LONG_STAY, 32), (32 * LONG_STAY, 16), (16 * LONG_STAY, 16)]
        {
            now += stay;
            lane.took_long_at(now);
            assert_eq!(calm(&lane, now), expected);
            now += expected;
        }
    }

    #[test]
    fn decision_that_takes_long_on_the_fiber_begins_the_count_again() {
        let lane = LaneChoice::new(true);
        lane.took_long();
        (0..15).for_each(|_| lane.timed(Duration::from_micros(1)));
        lane.timed(Duration::from_millis(1));
        assert_eq!(lane.lane(), Lane::Fiber);
        assert_eq!(calm(&lane, 0), 16);
    }

    #[test]
    fn plugin_that_always_needs_a_fiber_stays_on_it() {
        let lane = LaneChoice::new(false);
        lane.took_long();
        (0..100).for_each(|_| lane.timed(Duration::ZERO));
        assert_eq!(lane.lane(), Lane::Fiber);
    }
}
