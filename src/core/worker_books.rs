//! The books of a worker that is in no fleet.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use crate::core::book_page::{Margin, Page, halves};
use crate::core::books::BookNumbers;
use crate::core::moment;
use sgl_policy_abi::Column;

/// The books of one worker outside a [`crate::core::Fleet`]: for an embedder's own kind of worker, which
/// returns them in [`Worker::books`](crate::core::Worker::books).
#[derive(Debug)]
pub struct WorkerBooks {
    load_and_held: AtomicU64,
    prefill_and_uncached: AtomicU64,
    cost: AtomicU32,
    oldest: AtomicU32,
    ttft: AtomicU32,
    tpot: AtomicU32,
    margin: Margin,
}

impl Default for WorkerBooks {
    fn default() -> Self {
        let unknown = |column: Column| AtomicU32::new(column.unknown());
        Self {
            load_and_held: AtomicU64::new(0),
            prefill_and_uncached: AtomicU64::new(0),
            cost: AtomicU32::new(0.0_f32.to_bits()),
            oldest: unknown(Column::OldestPendingMs),
            ttft: unknown(Column::TtftEwma),
            tpot: unknown(Column::TpotEwma),
            margin: Margin::default(),
        }
    }
}

impl WorkerBooks {
    /// What is in them.
    pub fn numbers(&self) -> BookNumbers {
        BookNumbers::from_bits(|column| self.bits(column).unwrap_or(column.unknown()))
    }

    /// Shows these numbers instead, for who counts requests elsewhere; ages count from now on. What was entered
    /// into them before must not be taken out again afterwards.
    pub fn show(&self, numbers: &BookNumbers) {
        let float = |value: Option<f32>| value.unwrap_or(f32::NAN).to_bits();
        let oldest = numbers.oldest_pending_ms.map(|age| moment::before(moment::now(), age));
        let halves = |low: i32, high: i32| halves(low.cast_unsigned(), high.cast_unsigned());
        let both = [
            (&self.load_and_held, halves(numbers.prefill_load, numbers.tokens_in_flight)),
            (&self.prefill_and_uncached, halves(numbers.prefill_tokens, numbers.uncached_tokens)),
        ];
        let single = [
            (&self.cost, numbers.pending_cost.to_bits()),
            (&self.oldest, oldest.unwrap_or(Column::OldestPendingMs.unknown())),
            (&self.ttft, float(numbers.ttft_ms)),
            (&self.tpot, float(numbers.tpot_ms)),
        ];
        self.page().clear_excess();
        // Relaxed: gauges.
        both.into_iter().for_each(|(cell, bits)| cell.store(bits, Ordering::Relaxed));
        single.into_iter().for_each(|(cell, bits)| cell.store(bits, Ordering::Relaxed));
    }

    pub(crate) fn page(&self) -> Page<'_> {
        Page {
            load_and_held: &self.load_and_held,
            prefill_and_uncached: &self.prefill_and_uncached,
            cost: &self.cost,
            oldest: &self.oldest,
            ttft: &self.ttft,
            tpot: &self.tpot,
            margin: &self.margin,
        }
    }

    /// The bits of a column, as they are in its cells; `None` for one that is not in the books.
    #[expect(clippy::cast_possible_truncation, reason = "each half is taken on purpose")]
    pub(crate) fn bits(&self, column: Column) -> Option<u32> {
        let low = |cell: &AtomicU64| cell.load(Ordering::Relaxed) as u32;
        let high = |cell: &AtomicU64| (cell.load(Ordering::Relaxed) >> 32) as u32;
        let whole = |cell: &AtomicU32| cell.load(Ordering::Relaxed);
        Some(match column {
            Column::PrefillLoad => low(&self.load_and_held),
            Column::TokensInFlight => high(&self.load_and_held),
            Column::PrefillTokens => low(&self.prefill_and_uncached),
            Column::UncachedTokens => high(&self.prefill_and_uncached),
            Column::PendingCost => whole(&self.cost),
            Column::OldestPendingMs => whole(&self.oldest),
            Column::TtftEwma => whole(&self.ttft),
            Column::TpotEwma => whole(&self.tpot),
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_that_were_kept_elsewhere_are_shown_as_they_are() {
        let books = WorkerBooks::default();
        let numbers = BookNumbers {
            prefill_load: 1,
            prefill_tokens: 300,
            uncached_tokens: 200,
            tokens_in_flight: 400,
            pending_cost: 2.5,
            oldest_pending_ms: None,
            ttft_ms: Some(20.0),
            tpot_ms: None,
        };
        books.show(&numbers);
        assert_eq!(books.numbers(), numbers);
        books.show(&BookNumbers { oldest_pending_ms: Some(5000), ..numbers });
        assert!(books.numbers().oldest_pending_ms >= Some(5000));
    }
}
