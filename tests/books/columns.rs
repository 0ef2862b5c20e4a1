//! The columns of the books, as policies get them.

use parking_lot::{Mutex, MutexGuard};
use sglang_router_rs::core::{CandidateWorkers, Column, WorkerTable};

/// What requests add and take away.
pub(crate) const SUMS: [Column; 5] = [
    Column::PrefillLoad,
    Column::PrefillTokens,
    Column::UncachedTokens,
    Column::TokensInFlight,
    Column::PendingCost,
];

/// Lets one test at a time have the books kept or not.
pub(crate) fn alone() -> MutexGuard<'static, ()> {
    static ONE: Mutex<()> = Mutex::new(());
    ONE.lock()
}

/// The bits of a column.
pub(crate) fn bits<C: CandidateWorkers>(table: &C, column: Column) -> Vec<u32> {
    let mut bytes = vec![0xEE; table.len() * Column::WIDTH];
    table.fill(column, &mut bytes);
    bytes.as_chunks().0.iter().map(|word| u32::from_le_bytes(*word)).collect()
}

/// A column of integers.
pub(crate) fn ints<C: CandidateWorkers>(table: &C, column: Column) -> Vec<i32> {
    bits(table, column).into_iter().map(u32::cast_signed).collect()
}

/// A column of floats.
pub(crate) fn floats<C: CandidateWorkers>(table: &C, column: Column) -> Vec<f32> {
    bits(table, column).into_iter().map(f32::from_bits).collect()
}

/// Nothing is in flight to any worker, and all books say so.
pub(crate) fn assert_zero(table: &WorkerTable) {
    for column in SUMS {
        assert!(
            bits(table, column).iter().all(|bits| *bits == 0),
            "{}: {:?}",
            column.name(),
            bits(table, column)
        );
    }
    assert!(ints(table, Column::OldestPendingMs).iter().all(|age| *age == -1));
    assert!(ints(table, Column::Load).iter().all(|load| *load == 0));
}
