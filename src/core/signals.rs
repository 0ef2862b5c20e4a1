//! The changing numbers of workers, in columns that can be copied in bulk.
//!
//! A worker keeps its slot (a chunk and a place in it) for life, so a guard that counts a request in
//! flight always finds the number that it raised, whatever happened to the table since.

use std::fmt;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use crate::core::book_page::{Margin, Page};
use crate::core::bulk_copy::{copy_cells, copy_halves, high, low};
use crate::core::moment;
use crate::core::moment::Now;
#[cfg(all(target_arch = "x86_64", not(miri)))]
use crate::core::wide_copy::WideCopy;
use sgl_policy_abi::Column;

/// Workers in one chunk. 1024 keeps a table of a thousand in one copy per column, and an empty
/// router at 120 KiB.
pub(crate) const CHUNK_SLOTS: usize = 1024;

/// A column and a gap: without it the beginnings of all columns would have to share the same few lines of a
/// first cache, and a message over a small fleet reads just these.
#[repr(C, align(64))]
struct Spaced<T> {
    cells: [T; CHUNK_SLOTS],
    /// Odd in lines, so that the columns spread over all sets of a cache.
    _gap: [u64; 5 * 8],
}

type ColumnCells = Spaced<AtomicU32>;

/// Two columns in one, since they change together.
type PairCells = Spaced<AtomicU64>;

/// Where a column lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Home {
    /// In cells of its own.
    Cells(usize),
    /// In the low halves of these.
    Low(usize),
    /// In the high halves of these.
    High(usize),
}

/// Columns with cells of their own.
const OWN: usize = 13;

const LOAD_AND_HELD: usize = 0;
const PREFILL_AND_UNCACHED: usize = 1;

#[inline]
const fn home(column: Column) -> Home {
    match column {
        Column::Load => Home::Cells(0),
        Column::Running => Home::Cells(1),
        Column::Waiting => Home::Cells(2),
        Column::QueuedTokens => Home::Cells(3),
        Column::KvUsage => Home::Cells(4),
        Column::Throughput => Home::Cells(5),
        Column::LatencyEwma => Home::Cells(6),
        Column::PrefillLoad => Home::Low(LOAD_AND_HELD),
        Column::TokensInFlight => Home::High(LOAD_AND_HELD),
        Column::PrefillTokens => Home::Low(PREFILL_AND_UNCACHED),
        Column::UncachedTokens => Home::High(PREFILL_AND_UNCACHED),
        Column::PendingCost => Home::Cells(7),
        Column::OldestPendingMs => Home::Cells(8),
        Column::TtftEwma => Home::Cells(9),
        Column::TpotEwma => Home::Cells(10),
        Column::ReportAgeMs => Home::Cells(11),
        Column::LoadElsewhere => Home::Cells(12),
    }
}

/// True for a column that requests in flight raise and lower by what each of them added: it is 0 while
/// there are none.
const fn is_sum(column: Column) -> bool {
    matches!(
        column,
        Column::Load
            | Column::PrefillLoad
            | Column::PrefillTokens
            | Column::UncachedTokens
            | Column::TokensInFlight
            | Column::PendingCost
    )
}

impl<T> Spaced<T> {
    const fn of(cells: [T; CHUNK_SLOTS]) -> Self {
        Self { cells, _gap: [0; 5 * 8] }
    }
}

/// Signals of up to [`CHUNK_SLOTS`] workers.
///
/// # Concurrency
///
/// Every number is an independent gauge: all accesses are `Relaxed`, and a reader that copies a
/// column may see some workers before and some after a concurrent change. That is benign: a
/// policy decides on numbers that are a moment old either way.
pub(crate) struct SignalChunk {
    columns: Box<[ColumnCells; OWN]>,
    pairs: Box<[PairCells; 2]>,
    margins: Box<[Margin]>,
    healthy: [AtomicU64; CHUNK_SLOTS / 64],
}

/// Leaves out its thousands of numbers.
impl fmt::Debug for SignalChunk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SignalChunk").finish_non_exhaustive()
    }
}

#[expect(
    clippy::indexing_slicing,
    reason = "slots are below CHUNK_SLOTS by construction of runs and workers"
)]
impl SignalChunk {
    pub(crate) fn new() -> Self {
        let chunk = Self {
            columns: Box::new([const { Spaced::of([const { AtomicU32::new(0) }; CHUNK_SLOTS]) }; OWN]),
            pairs: Box::new([const { Spaced::of([const { AtomicU64::new(0) }; CHUNK_SLOTS]) }; 2]),
            margins: (0..CHUNK_SLOTS).map(|_| Margin::default()).collect(),
            healthy: [const { AtomicU64::new(0) }; CHUNK_SLOTS / 64],
        };
        for slot in 0..CHUNK_SLOTS {
            chunk.reset(slot);
            chunk.store(Column::OldestPendingMs, slot, Column::OldestPendingMs.unknown());
        }
        chunk
    }

    /// True if no request is in flight to any of its slots.
    pub(crate) fn is_idle(&self) -> bool {
        (0..CHUNK_SLOTS).all(|slot| self.is_idle_at(slot))
    }

    /// True if no request is in flight to a slot.
    pub(crate) fn is_idle_at(&self, slot: usize) -> bool {
        // Acquire: pairs with the release of the last request.
        self.cell(Column::Load, slot).load(Ordering::Acquire) == 0
    }

    /// Sets the slot back to "unknown, not healthy" for its next owner. What requests in flight have added
    /// stays: there are none, unless the next owner is the last one come back.
    pub(crate) fn reset(&self, slot: usize) {
        let stays = |column| is_sum(column) || column == Column::OldestPendingMs;
        for column in Column::ALL.into_iter().filter(|column| !stays(*column)) {
            self.store(column, slot, column.unknown());
        }
        self.set_healthy(slot, false);
    }

    #[inline]
    pub(crate) fn load(&self, column: Column, slot: usize) -> u32 {
        match home(column) {
            Home::Cells(own) => self.columns[own].cells[slot].load(Ordering::Relaxed),
            Home::Low(pair) => low(self.pairs[pair].cells[slot].load(Ordering::Relaxed)),
            Home::High(pair) => high(self.pairs[pair].cells[slot].load(Ordering::Relaxed)),
        }
    }

    /// Stores a number that is no sum of what requests added.
    #[inline]
    pub(crate) fn store(&self, column: Column, slot: usize, bits: u32) {
        self.cell(column, slot).store(bits, Ordering::Relaxed);
    }

    /// The cell of a column that has cells of its own.
    #[inline]
    pub(crate) fn cell(&self, column: Column, slot: usize) -> &AtomicU32 {
        match home(column) {
            Home::Cells(own) => &self.columns[own].cells[slot],
            Home::Low(_) | Home::High(_) => unreachable!("{} shares its cells", column.name()),
        }
    }

    /// The books of a worker.
    #[inline]
    pub(crate) fn page(&self, slot: usize) -> Page<'_> {
        Page {
            load_and_held: &self.pairs[LOAD_AND_HELD].cells[slot],
            prefill_and_uncached: &self.pairs[PREFILL_AND_UNCACHED].cells[slot],
            cost: self.cell(Column::PendingCost, slot),
            oldest: self.cell(Column::OldestPendingMs, slot),
            ttft: self.cell(Column::TtftEwma, slot),
            tpot: self.cell(Column::TpotEwma, slot),
            margin: &self.margins[slot],
        }
    }

    #[inline]
    pub(crate) fn add_load(&self, slot: usize) {
        self.cell(Column::Load, slot).fetch_add(1, Ordering::Relaxed);
    }

    #[inline]
    pub(crate) fn sub_load(&self, slot: usize) {
        // Release: whoever gets the slot because there is no load finds the books as they are then.
        self.cell(Column::Load, slot).fetch_sub(1, Ordering::Release);
    }

    pub(crate) fn set_healthy(&self, slot: usize, healthy: bool) {
        let bit = 1_u64 << (slot % 64);
        let word = &self.healthy[slot / 64];
        if healthy {
            word.fetch_or(bit, Ordering::Relaxed);
        } else {
            word.fetch_and(!bit, Ordering::Relaxed);
        }
    }

    #[inline]
    pub(crate) fn is_healthy(&self, slot: usize) -> bool {
        self.healthy[slot / 64].load(Ordering::Relaxed) & (1 << (slot % 64)) != 0
    }

    /// The 64 health bits that start at word `word`.
    #[inline]
    pub(crate) fn healthy_word(&self, word: usize) -> u64 {
        self.healthy[word].load(Ordering::Relaxed)
    }

    /// Copies `out.len() / 4` workers of a column, from slot `first` on.
    #[inline]
    pub(crate) fn copy(&self, column: Column, first: usize, out: &mut [u8]) {
        let workers = out.len() / Column::WIDTH;
        let slots = first..first + workers;
        match home(column) {
            Home::Cells(own) => copy_cells(&self.columns[own].cells[slots], out),
            Home::Low(pair) => copy_halves::<0>(&self.pairs[pair].cells[slots], out),
            Home::High(pair) => copy_halves::<1>(&self.pairs[pair].cells[slots], out),
        }
    }

    /// Copies as many workers of several columns, from slot `first` on, each behind `gap` bytes of `out` that
    /// stay as they are; moments as ages.
    pub(crate) fn copy_columns(
        &self,
        columns: &[Column],
        (first, workers): (usize, usize),
        gap: usize,
        out: &mut [u8],
        now: &Now,
    ) {
        let each = gap + workers * Column::WIDTH;
        let parts = out.chunks_exact_mut(each).map(|part| &mut part[gap..]);
        #[cfg(all(target_arch = "x86_64", not(miri)))]
        if let Some(wide) = WideCopy::here() {
            let slots = first..first + workers;
            for (column, out) in columns.iter().zip(parts) {
                match home(*column) {
                    Home::Cells(own) if moment::is_in(*column) => {
                        wide.ages(&self.columns[own].cells[slots.clone()], now.moment(), out);
                    }
                    Home::Cells(own) => wide.cells(&self.columns[own].cells[slots.clone()], out),
                    Home::Low(pair) => wide.halves::<0>(&self.pairs[pair].cells[slots.clone()], out),
                    Home::High(pair) => wide.halves::<1>(&self.pairs[pair].cells[slots.clone()], out),
                }
            }
            return;
        }
        for (column, out) in columns.iter().zip(parts) {
            self.copy(*column, first, out);
            if moment::is_in(*column) {
                moment::into_ages(out, now.moment());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_column_has_a_home_of_its_own() {
        let homes: std::collections::HashSet<String> =
            Column::ALL.into_iter().map(|column| format!("{:?}", home(column))).collect();
        assert_eq!(homes.len(), Column::COUNT);
        let own = |column: &Column| matches!(home(*column), Home::Cells(own) if own < OWN);
        assert_eq!(Column::ALL.iter().filter(|column| own(column)).count(), OWN);
    }

    #[test]
    fn halves_of_every_length_are_copied_whole_and_nothing_else_is_written() {
        let chunk = SignalChunk::new();
        for slot in 0..CHUNK_SLOTS {
            let number = u64::try_from(slot).unwrap();
            chunk.pairs[LOAD_AND_HELD].cells[slot]
                .store((7 * number) | ((3 * number) << 32), Ordering::Relaxed);
        }
        for (column, factor) in [(Column::PrefillLoad, 7), (Column::TokensInFlight, 3)] {
            let number = |slot: usize| factor * u32::try_from(slot).unwrap();
            for workers in (0..100).chain([CHUNK_SLOTS - 5]) {
                let first = 5.min(CHUNK_SLOTS - workers);
                let mut out = vec![0xEE; workers * 4 + 8];
                chunk.copy(column, first, &mut out[..workers * 4]);
                let (copied, rest) = out.split_at(workers * 4);
                let words = copied.as_chunks::<4>().0.iter().map(|word| u32::from_le_bytes(*word));
                assert!(words.eq((first..first + workers).map(number)), "{workers}");
                assert_eq!(rest, [0xEE; 8], "{workers}");
                assert!((0..CHUNK_SLOTS).all(|slot| chunk.load(column, slot) == number(slot)));
            }
        }
    }

    #[test]
    fn columns_of_every_length_are_copied_whole_and_nothing_else_is_written() {
        let chunk = SignalChunk::new();
        let number = |slot: usize| 7 * u32::try_from(slot).unwrap();
        (0..CHUNK_SLOTS).for_each(|slot| chunk.store(Column::Running, slot, number(slot)));
        for workers in (0..200).chain([CHUNK_SLOTS - 5]) {
            let first = 5.min(CHUNK_SLOTS - workers);
            let mut out = vec![0xEE; workers * 4 + 8];
            chunk.copy(Column::Running, first, &mut out[..workers * 4]);
            let (copied, rest) = out.split_at(workers * 4);
            let words = copied.as_chunks::<4>().0.iter().map(|word| u32::from_le_bytes(*word));
            assert!(words.eq((first..first + workers).map(number)), "{workers}");
            assert_eq!(rest, [0xEE; 8], "{workers}");
        }
    }

    #[test]
    fn several_columns_are_copied_as_each_alone_and_the_gaps_stay() {
        let chunk = SignalChunk::new();
        for slot in 0..CHUNK_SLOTS {
            let number = u32::try_from(slot).unwrap();
            for own in &*chunk.columns {
                own.cells[slot].store(number.wrapping_mul(0x9e37_79b9), Ordering::Relaxed);
            }
            for pair in &*chunk.pairs {
                pair.cells[slot]
                    .store(u64::from(number).wrapping_mul(0x9e37_79b9_7f4a_7c15), Ordering::Relaxed);
            }
            // A third of the moments is not known, a third is still to come.
            let moment = [u32::MAX, 1000 + number, 1000u32.wrapping_sub(number)][slot % 3];
            chunk.store(Column::ReportAgeMs, slot, moment);
        }
        let now = Now::at(1000);
        for workers in (0..70).chain([255, 256, 300, CHUNK_SLOTS - 5]) {
            let (first, gap) = (5.min(CHUNK_SLOTS - workers), workers % 4);
            let each = gap + workers * Column::WIDTH;
            let mut out = vec![0xEE; each * Column::COUNT + 8];
            let (copied, rest) = out.split_at_mut(each * Column::COUNT);
            if each > 0 {
                chunk.copy_columns(&Column::ALL, (first, workers), gap, copied, &now);
            }
            assert_eq!(rest, [0xEE; 8], "{workers}");
            for (column, part) in Column::ALL.into_iter().zip(copied.chunks_exact(each.max(1))) {
                let mut alone = vec![0; workers * Column::WIDTH];
                chunk.copy(column, first, &mut alone);
                if moment::is_in(column) {
                    moment::into_ages(&mut alone, now.moment());
                }
                assert!(part[..gap].iter().all(|byte| *byte == 0xEE), "{workers} {}", column.name());
                assert_eq!(part[gap..], alone, "{workers} {}", column.name());
            }
        }
    }
}
