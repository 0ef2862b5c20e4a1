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
        | Column::TpotEwma => false,
    }
}

/// The moment at which a message is written. The clock is read for the first column that needs it, and once
/// for all of them.
#[derive(Debug, Default)]
pub struct Now(Cell<Option<u32>>);

impl Now {
    #[inline]
    pub(crate) fn moment(&self) -> u32 {
        let moment = self.0.get().unwrap_or_else(now);
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
