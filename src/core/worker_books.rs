//! The books of a worker that is in no fleet.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use crate::core::book_page::{Margin, Page};
use crate::core::books::BookNumbers;
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
