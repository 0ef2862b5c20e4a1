//! Where asynchronous callers run the guest: on their own stack, or on a fiber that yields.

use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::engine::instance::Lane;

/// A timed decision below this was no reason to be on a fiber.
const SHORT: Duration = Duration::from_micros(250);

/// Short timed decisions in a row after which an adaptive plugin first goes back to its caller's
/// stack; twice as many each further time.
const FIRST_CALM: u32 = 16;

/// The lane of one generation.
///
/// A call that needs more than a tick says one of two things: the guest takes long, or the machine
/// took its thread away. The first comes again and the second does not, so an adaptive plugin may go
/// back, but less and less readily.
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
    /// Short decisions in a row that are still missing.
    missing: AtomicU32,
    /// How many are asked for.
    asked: AtomicU32,
}

impl LaneChoice {
    pub(crate) fn new(adaptive: bool) -> Self {
        Self {
            adaptive,
            on_fiber: AtomicBool::new(!adaptive),
            missing: AtomicU32::new(0),
            asked: AtomicU32::new(FIRST_CALM),
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
        if !self.adaptive {
            return;
        }
        let mut asked = self.asked.load(Ordering::Relaxed);
        if !self.on_fiber.swap(true, Ordering::Relaxed) {
            self.asked.store(asked.saturating_mul(2), Ordering::Relaxed);
        } else {
            asked /= 2;
        }
        self.missing.store(asked.max(1), Ordering::Relaxed);
    }

    /// A decision was timed.
    #[cold]
    pub(crate) fn timed(&self, time: Duration) {
        if !self.adaptive || !self.on_fiber.load(Ordering::Relaxed) {
            return;
        }
        if time >= SHORT {
            return self.took_long();
        }
        let missing = self.missing.load(Ordering::Relaxed).saturating_sub(1);
        self.missing.store(missing, Ordering::Relaxed);
        if missing == 0 {
            self.on_fiber.store(false, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Short decisions until it is back on the caller's stack.
    fn calm(lane: &LaneChoice) -> u32 {
        (1..10_000)
            .find(|_| {
                lane.timed(Duration::from_micros(1));
                lane.lane() == Lane::Adaptive
            })
            .expect("it goes back")
    }

    #[test]
    fn adaptive_plugin_goes_back_less_and_less_readily() {
        let lane = LaneChoice::new(true);
        assert_eq!(lane.lane(), Lane::Adaptive);
        for expected in [16, 32, 64] {
            lane.took_long();
            assert_eq!(lane.lane(), Lane::Fiber);
            assert_eq!(calm(&lane), expected);
        }
    }

    #[test]
    fn decision_that_takes_long_on_the_fiber_begins_the_count_again() {
        let lane = LaneChoice::new(true);
        lane.took_long();
        (0..15).for_each(|_| lane.timed(Duration::from_micros(1)));
        lane.timed(Duration::from_millis(1));
        assert_eq!(lane.lane(), Lane::Fiber);
        assert_eq!(calm(&lane), 16);
    }

    #[test]
    fn plugin_that_always_needs_a_fiber_stays_on_it() {
        let lane = LaneChoice::new(false);
        lane.took_long();
        (0..100).for_each(|_| lane.timed(Duration::ZERO));
        assert_eq!(lane.lane(), Lane::Fiber);
    }
}
