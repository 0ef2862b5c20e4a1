//! Where the books of one worker lie, and how its numbers change.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Instant;

use parking_lot::Mutex;

use crate::core::bulk_copy::{high, low};
use crate::core::moment;
use sgl_policy_abi::{Column, MAX_COST};

/// Steps of a cost of 1: costs are added up as integers, since sums of floats do not go back to zero.
const COST_STEPS: f32 = (1 << 20) as f32;

/// The most that a sum of tokens shows: a column is read as an `i32`, and less than nothing is unknown.
const MOST: u32 = i32::MAX.cast_unsigned();

/// What is beside the columns of one worker.
#[derive(Debug, Default)]
pub(crate) struct Margin {
    /// The costs of [`Column::PendingCost`] in steps.
    cost_steps: AtomicU64,
    /// What [`Page::load_and_held`] has no room for.
    held_excess: Excess,
    /// What [`Page::prefill_and_uncached`] has no room for.
    prefill_excess: Excess,
    /// When the pending requests were sent, each with a number of its own. The lock is taken when a
    /// request goes out, has its first token or ends, never for a decision.
    sent: Mutex<SentRequests>,
}

/// What the two numbers of a cell are above [`MOST`], each.
#[derive(Debug, Default)]
struct Excess {
    low: AtomicU64,
    high: AtomicU64,
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
/// change together share a cell, since a locked instruction is what a decision pays for. What one of them is
/// above [`MOST`] lies in the margin; who sees too much in the cell, or something in the margin, moves it
/// (see [`settle`]). Until then a reader may see too much, as unknown, for an instant. Only `cost` is derived from another cell, see [`Page::show_cost`]; `oldest` is written under the lock of
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
    /// Adds to [`Page::load_and_held`].
    #[inline]
    pub(crate) fn hold(self, load: u32, tokens: u32) {
        add(self.load_and_held, &self.margin.held_excess, load, tokens);
    }

    /// Takes from [`Page::load_and_held`] what was added.
    #[inline]
    pub(crate) fn release(self, load: u32, tokens: u32) {
        take(self.load_and_held, &self.margin.held_excess, load, tokens);
    }

    /// Adds to [`Page::prefill_and_uncached`].
    #[inline]
    pub(crate) fn begin_prefill(self, tokens: u32, uncached: u32) {
        if halves(tokens, uncached) != 0 {
            add(self.prefill_and_uncached, &self.margin.prefill_excess, tokens, uncached);
        }
    }

    /// Takes from [`Page::prefill_and_uncached`] what was added.
    #[inline]
    pub(crate) fn end_prefill(self, tokens: u32, uncached: u32) {
        if halves(tokens, uncached) != 0 {
            take(self.prefill_and_uncached, &self.margin.prefill_excess, tokens, uncached);
        }
    }

    /// Forgets what the cells have no room for.
    pub(crate) fn clear_excess(self) {
        let both = [&self.margin.held_excess, &self.margin.prefill_excess];
        both.into_iter()
            .flat_map(|excess| [&excess.low, &excess.high])
            .for_each(|sum| sum.store(0, Ordering::SeqCst));
    }

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

/// Adds to the two numbers of a cell.
#[inline]
fn add(cell: &AtomicU64, excess: &Excess, more_low: u32, more_high: u32) {
    let after = cell
        .fetch_add(halves(more_low, more_high), Ordering::SeqCst)
        .wrapping_add(halves(more_low, more_high));
    if low(after) > MOST || high(after) > MOST {
        settle(cell, excess);
    }
}

/// Takes from the two numbers of a cell. There is enough in it: it holds all or [`MOST`], which no request has.
#[inline]
fn take(cell: &AtomicU64, excess: &Excess, less_low: u32, less_high: u32) {
    cell.fetch_sub(halves(less_low, less_high), Ordering::SeqCst);
    // SeqCst here and in `settle`: either this sees the excess, or who left it sees that there is room now.
    if excess.low.load(Ordering::SeqCst) | excess.high.load(Ordering::SeqCst) != 0 {
        settle(cell, excess);
    }
}

/// Moves to the margin what a cell has too much, and back what it has room for, until neither is so.
#[cold]
fn settle(cell: &AtomicU64, excess: &Excess) {
    loop {
        let before = cell.load(Ordering::SeqCst);
        let fitting = halves(low(before).min(MOST), high(before).min(MOST));
        if fitting != before {
            if cell.compare_exchange(before, fitting, Ordering::SeqCst, Ordering::SeqCst).is_ok() {
                excess.low.fetch_add(u64::from(low(before).saturating_sub(MOST)), Ordering::SeqCst);
                excess.high.fetch_add(u64::from(high(before).saturating_sub(MOST)), Ordering::SeqCst);
            }
            continue;
        }
        let back = halves(fetch(&excess.low, MOST - low(before)), fetch(&excess.high, MOST - high(before)));
        if back == 0 {
            return;
        }
        cell.fetch_add(back, Ordering::SeqCst);
    }
}

/// Takes up to `room` from an excess.
fn fetch(excess: &AtomicU64, room: u32) -> u32 {
    let mut taken = 0;
    // An `Err` is one that had nothing to give, or no room.
    let _ = excess.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |sum| {
        taken = u32::try_from(sum).unwrap_or(u32::MAX).min(room);
        (taken > 0).then(|| sum - u64::from(taken))
    });
    taken
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

#[cfg(test)]
mod tests {
    use crate::core::worker_books::WorkerBooks;

    const TOKENS: u32 = 1 << 24;

    #[test]
    fn sums_of_tokens_stay_at_the_most_and_come_back_exactly() {
        let books = WorkerBooks::default();
        let page = books.page();
        for _ in 0..600 {
            page.hold(1, TOKENS);
            page.begin_prefill(TOKENS, TOKENS);
        }
        let full = books.numbers();
        assert_eq!((full.prefill_load, full.tokens_in_flight), (600, i32::MAX));
        assert_eq!((full.prefill_tokens, full.uncached_tokens), (i32::MAX, i32::MAX));
        for _ in 0..595 {
            page.release(1, TOKENS);
            page.end_prefill(TOKENS, TOKENS);
        }
        let left = books.numbers();
        let tokens = 5 * TOKENS.cast_signed();
        assert_eq!((left.prefill_load, left.tokens_in_flight), (5, tokens));
        assert_eq!((left.prefill_tokens, left.uncached_tokens), (tokens, tokens));
    }

    #[test]
    fn one_sum_at_the_most_leaves_its_neighbour_alone() {
        let books = WorkerBooks::default();
        let page = books.page();
        (0..600).for_each(|_| page.begin_prefill(TOKENS, 1));
        assert_eq!((books.numbers().prefill_tokens, books.numbers().uncached_tokens), (i32::MAX, 600));
        (0..600).for_each(|_| page.end_prefill(TOKENS, 1));
        assert_eq!((books.numbers().prefill_tokens, books.numbers().uncached_tokens), (0, 0));
    }

    #[test]
    fn sums_at_the_most_come_back_from_many_threads() {
        let books = WorkerBooks::default();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..20 {
                        (0..100).for_each(|_| books.page().hold(1, TOKENS));
                        (0..100).for_each(|_| books.page().release(1, TOKENS));
                    }
                });
            }
        });
        assert_eq!((books.numbers().prefill_load, books.numbers().tokens_in_flight), (0, 0));
    }
}
