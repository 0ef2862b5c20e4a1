//! Where the books of one worker lie, and how its numbers change.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Instant;

use parking_lot::Mutex;

use crate::core::moment;
use sgl_policy_abi::{Column, MAX_COST};

/// Steps of a cost of 1: costs are added up as integers, since sums of floats do not go back to zero.
const COST_STEPS: f32 = (1 << 20) as f32;

/// What is beside the columns of one worker.
#[derive(Debug, Default)]
pub(crate) struct Margin {
    /// The costs of [`Column::PendingCost`] in steps.
    cost_steps: AtomicU64,
    /// When the pending requests were sent, each with a number of its own. The lock is taken when a
    /// request goes out, has its first token or ends, never for a decision.
    sent: Mutex<SentRequests>,
}

#[derive(Debug, Default)]
struct SentRequests {
    next: u32,
    pending: BTreeSet<(Instant, u32)>,
}

/// Where the books of one worker lie.
///
/// # Concurrency
///
/// The sums are gauges: all accesses are `Relaxed`, and every addition has its subtraction. Numbers that
/// change together share a cell, since a locked instruction is what a decision pays for. Only
/// `cost` is derived from another cell, see [`Page::show_cost`]; `oldest` is written under the lock of
/// [`Margin::sent`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct Page<'a> {
    /// [`Column::PrefillLoad`] in the low half, [`Column::TokensInFlight`] in the high.
    pub load_and_held: &'a AtomicU64,
    /// [`Column::PrefillTokens`] in the low half, [`Column::UncachedTokens`] in the high.
    pub prefill_and_uncached: &'a AtomicU64,
    /// [`Column::PendingCost`].
    pub cost: &'a AtomicU32,
    /// [`Column::OldestPendingMs`], as a moment.
    pub oldest: &'a AtomicU32,
    /// [`Column::TtftEwma`].
    pub ttft: &'a AtomicU32,
    /// [`Column::TpotEwma`].
    pub tpot: &'a AtomicU32,
    pub margin: &'a Margin,
}

/// Two numbers in one cell.
#[inline]
pub(crate) const fn halves(low: u32, high: u32) -> u64 {
    low as u64 | (high as u64) << 32
}

impl Page<'_> {
    #[inline]
    pub(crate) fn add_cost(self, cost: f32) {
        self.margin.cost_steps.fetch_add(steps(cost), Ordering::SeqCst);
        self.show_cost();
    }

    pub(crate) fn take_cost(self, cost: f32) {
        self.margin.cost_steps.fetch_sub(steps(cost), Ordering::SeqCst);
        self.show_cost();
    }

    /// Brings the column up to the sum. Whoever stores an outdated number sees that the sum has changed
    /// since, and stores again: `SeqCst` keeps the look behind the store. It ends, since the sum changes
    /// only as often as requests come and go.
    #[inline]
    #[expect(clippy::cast_precision_loss, reason = "only the column is rounded")]
    fn show_cost(self) {
        loop {
            let sum = self.margin.cost_steps.load(Ordering::SeqCst);
            self.cost.store((sum as f32 / COST_STEPS).to_bits(), Ordering::SeqCst);
            if self.margin.cost_steps.load(Ordering::SeqCst) == sum {
                return;
            }
        }
    }

    /// Notes that a request goes out; returns its place among the pending ones.
    pub(crate) fn send(self, now: Instant) -> (Instant, u32) {
        let mut sent = self.margin.sent.lock();
        let place = (now, sent.next);
        sent.next = sent.next.wrapping_add(1);
        sent.pending.insert(place);
        self.show_oldest(&sent);
        place
    }

    pub(crate) fn forget(self, place: (Instant, u32)) {
        let mut sent = self.margin.sent.lock();
        sent.pending.remove(&place);
        self.show_oldest(&sent);
    }

    fn show_oldest(self, sent: &SentRequests) {
        let oldest = sent.pending.first().map(|(at, _)| moment::before(moment::of(*at), 0));
        self.oldest.store(oldest.unwrap_or(Column::OldestPendingMs.unknown()), Ordering::Relaxed);
    }
}

/// Moves an average towards a new value, by a tenth of the difference. A concurrent update may be lost,
/// which a moving average forgives.
pub(crate) fn move_average(cell: &AtomicU32, value: f32) {
    let before = f32::from_bits(cell.load(Ordering::Relaxed));
    let after = if before.is_nan() { value } else { before + (value - before) / 10.0 };
    cell.store(after.to_bits(), Ordering::Relaxed);
}

#[inline]
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a cast to an integer saturates")]
fn steps(cost: f32) -> u64 {
    // A policy of an embedder's may say anything.
    (cost.min(MAX_COST) * COST_STEPS) as u64
}
