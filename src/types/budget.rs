//! Time budgets in epoch ticks.

use std::num::NonZeroU64;
use std::time::Duration;

/// Deadline of one guest call, in epoch ticks.
///
/// The guest may run for at least its budget and less than the budget + 2 ticks, plus the
/// ticker's scheduling delay. Never 0: zero would trap before the first instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ticks(NonZeroU64);

impl Ticks {
    /// Rounds `budget` up to whole ticks, then adds the tick already in progress.
    pub fn covering(budget: Duration, tick: Duration) -> Self {
        let whole = budget.as_nanos().div_ceil(tick.as_nanos().max(1));
        // Capped at u32: the engine adds this to its epoch and must not overflow.
        let whole = u32::try_from(whole).unwrap_or(u32::MAX);
        Self(NonZeroU64::MIN.saturating_add(u64::from(whole)))
    }

    /// The number of ticks.
    pub fn get(self) -> u64 {
        self.0.get()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
