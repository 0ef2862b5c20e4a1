//! Moments in the four bytes of a column's cell, and the ages that readers of the column get.
//!
//! A cell holds the moment at which something was heard, not its age: so nobody has to touch it while
//! it grows older, and a table of a thousand workers costs a reader one look at the clock.

use std::cell::Cell;
use std::time::Instant;

use crate::types::virtual_time;
use sgl_policy_abi::Column;

/// In place of a moment that is not known; the unknown value of ages, too.
const UNKNOWN: u32 = u32::MAX;

/// True for columns whose cells hold moments.
#[inline]
pub(crate) const fn is_in(column: Column) -> bool {
    match column {
        Column::ReportAgeMs | Column::OldestPendingMs => true,
        Column::Load
        | Column::Running
        | Column::Waiting
        | Column::QueuedTokens
        | Column::KvUsage
        | Column::Throughput
        | Column::LatencyEwma
        | Column::PrefillLoad
        | Column::PrefillTokens
        | Column::UncachedTokens
        | Column::TokensInFlight
        | Column::PendingCost
        | Column::TtftEwma
        | Column::TpotEwma
        | Column::LoadElsewhere => false,
    }
}

/// The moment at which a message is written. The clock is looked at for the first column that needs it, and
/// once for all of them.
///
/// Where the kernel keeps one it is the clock that it moves with its own tick, every 1 to 10 ms: such a look
/// takes some nanoseconds, and one that asks the processor for the time as long as copying several columns.
/// So what happened within the last tick may seem to be about to happen; its age is 0.
#[derive(Debug, Default)]
pub struct Now(Cell<Option<u32>>);

impl Now {
    #[cfg(test)]
    pub(crate) fn at(moment: u32) -> Self {
        Self(Cell::new(Some(moment)))
    }

    #[inline]
    pub(crate) fn moment(&self) -> u32 {
        let moment = self.0.get().unwrap_or_else(last_tick);
        self.0.set(Some(moment));
        moment
    }
}

/// This moment: milliseconds since some moment of this process, which begin anew after 49 days. Ages are
/// far below that.
#[inline]
pub(crate) fn now() -> u32 {
    of(virtual_time::now())
}

/// The moment of a look at the clock, be it before that of the first.
#[inline]
#[expect(clippy::cast_possible_truncation, reason = "begins anew on purpose")]
pub(crate) fn of(at: Instant) -> u32 {
    let start = virtual_time::start();
    match at.checked_duration_since(start) {
        Some(after) => after.as_millis() as u32,
        None => (start.saturating_duration_since(at).as_millis() as u32).wrapping_neg(),
    }
}

/// The moment of the kernel's last tick; this one where there is no such clock, and in a simulation.
#[inline]
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "begins anew on purpose")]
fn last_tick() -> u32 {
    match nanoseconds::at_last_tick() {
        // The tick before the start is no moment before it.
        Some(at) if !virtual_time::is_virtual() => ((at - nanoseconds::at_start()).max(0) / 1_000_000) as u32,
        _ => now(),
    }
}

/// The clock that [`Instant`] reads, as a number: of that there is none.
#[cfg(target_os = "linux")]
mod nanoseconds {
    use std::sync::OnceLock;
    use std::time::Instant;

    use rustix::time::{ClockId, Timespec, clock_gettime};

    use crate::types::virtual_time;

    /// Its time at the moment from which all are counted.
    #[inline]
    pub(super) fn at_start() -> i64 {
        static START: OnceLock<i64> = OnceLock::new();
        *START.get_or_init(|| {
            // Before the look at the number: the start may seem later than it was, never earlier, so that no
            // tick is later than the present.
            let passed = Instant::now().saturating_duration_since(virtual_time::start());
            number(clock_gettime(ClockId::Monotonic)) - i64::try_from(passed.as_nanos()).unwrap_or(i64::MAX)
        })
    }

    /// Its time when it was last moved: no system call, and the processor is not asked.
    #[inline]
    pub(super) fn at_last_tick() -> Option<i64> {
        Some(number(clock_gettime(ClockId::MonotonicCoarse)))
    }

    #[inline]
    fn number(time: Timespec) -> i64 {
        time.tv_sec * 1_000_000_000 + time.tv_nsec
    }
}

#[cfg(not(target_os = "linux"))]
mod nanoseconds {
    pub(super) fn at_start() -> i64 {
        0
    }

    pub(super) fn at_last_tick() -> Option<i64> {
        None
    }
}

/// The moment that was `age` ago, which is none of those that mean "unknown".
pub(crate) fn before(now: u32, age_ms: i32) -> u32 {
    let moment = now.wrapping_sub(age_ms.max(0).cast_unsigned());
    if moment == UNKNOWN { moment - 1 } else { moment }
}

/// Milliseconds from a moment until `now`, -1 if it is not known.
#[inline]
pub(crate) const fn age(moment: u32, now: u32) -> i32 {
    // Another thread may have written a moment that is later than `now`.
    let age = now.wrapping_sub(moment).cast_signed();
    if moment == UNKNOWN {
        -1
    } else if age < 0 {
        0
    } else {
        age
    }
}

/// Turns a copied column of moments into one of ages.
#[inline]
pub(crate) fn into_ages(column: &mut [u8], now: u32) {
    for word in column.as_chunks_mut().0 {
        *word = age(u32::from_le_bytes(*word), now).to_le_bytes();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn age_is_what_has_passed_also_where_the_count_begins_anew() {
        for now in [0, 5, 1000, u32::MAX - 1, u32::MAX] {
            for passed in [0, 1, 1000, i32::MAX] {
                let found = age(before(now, passed), now);
                assert!(
                    found == passed || found == passed.saturating_add(1),
                    "{found} for {passed} at {now}"
                );
            }
            assert_eq!(age(UNKNOWN, now), -1);
            assert_eq!(
                age(before(now, -7), now.wrapping_sub(3)),
                0,
                "heard after the reader looked at the clock"
            );
        }
    }

    #[test]
    fn last_tick_is_the_present_or_shortly_before() {
        for _ in 0..1000 {
            let (before, tick, after) = (now(), last_tick(), now());
            // The coarsest kernel ticks a hundred times a second.
            assert!(after.wrapping_sub(tick).cast_signed() >= 0, "{tick} is not after {after}");
            assert!(before.wrapping_sub(tick).cast_signed() <= 20, "{tick} is long before {before}");
        }
    }

    #[test]
    fn column_of_moments_becomes_one_of_ages() {
        let mut column: Vec<u8> = [10, UNKNOWN, 1000].into_iter().flat_map(u32::to_le_bytes).collect();
        into_ages(&mut column, 1000);
        let ages: Vec<i32> = column.as_chunks().0.iter().map(|word| i32::from_le_bytes(*word)).collect();
        assert_eq!(ages, [990, -1, 0]);
    }

    #[test]
    fn unknown_moment_is_the_unknown_value_of_each_such_column() {
        let moments = Column::ALL.into_iter().filter(|column| is_in(*column));
        assert!(moments.map(Column::unknown).all(|unknown| unknown == UNKNOWN));
    }
}
