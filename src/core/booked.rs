//! One request in the books: what it added, and what it takes away again.

use std::time::{Duration, Instant};

use crate::core::book_page::{Page, move_average};
use crate::core::books::BookEntry;
use crate::types::virtual_time;

/// The most tokens that a prompt or an answer counts for, so that no request alone fills a column.
const MAX_TOKENS: u32 = 1 << 24;

/// One request in the books.
#[derive(Debug)]
pub(crate) struct Booked {
    entry: BookEntry,
    /// Tokens that it has generated, as far as they are told.
    generated: u32,
    /// Its place among those without a first token, once it was sent.
    sent: Option<(Instant, u32)>,
    /// When its first token came, if that is known.
    first_token: Option<Instant>,
    is_pending: bool,
}

impl Booked {
    /// Enters a request, at the moment of its decision.
    #[inline]
    pub(crate) fn enter(page: Page<'_>, entry: BookEntry) -> Self {
        let BookEntry { prompt_tokens, prefill_tokens, uncached_tokens, cost } = entry;
        let entry = BookEntry {
            prompt_tokens: prompt_tokens.min(MAX_TOKENS),
            prefill_tokens: prefill_tokens.min(MAX_TOKENS),
            uncached_tokens: uncached_tokens.min(MAX_TOKENS),
            cost,
        };
        page.hold(1, entry.prompt_tokens);
        page.begin_prefill(entry.prefill_tokens, entry.uncached_tokens);
        if cost > 0.0 {
            page.add_cost(cost);
        }
        Self { entry, generated: 0, sent: None, first_token: None, is_pending: true }
    }

    /// The request goes to the worker now.
    pub(crate) fn send(&mut self, page: Page<'_>, now: Instant) {
        if self.is_pending && self.sent.is_none() {
            self.sent = Some(page.send(now));
        }
    }

    /// The answer begins: the request is pending no longer.
    pub(crate) fn begin(&mut self, page: Page<'_>) {
        if !std::mem::take(&mut self.is_pending) {
            return;
        }
        page.release(1, 0);
        self.end_prefill(page);
    }

    /// The first token came.
    pub(crate) fn first_token(&mut self, page: Page<'_>, now: Instant) {
        if let (true, Some((sent, _))) = (self.is_pending, self.sent) {
            move_average(page.ttft, milliseconds(now.saturating_duration_since(sent)));
            self.first_token = Some(now);
        }
        self.begin(page);
    }

    /// So many more tokens came.
    pub(crate) fn generate(&mut self, page: Page<'_>, tokens: u32) {
        self.count(page, self.generated.saturating_add(tokens));
    }

    /// The worker says how many tokens it generated in all, which is better than what was told as they
    /// came.
    pub(crate) fn count(&mut self, page: Page<'_>, tokens: u32) {
        let before = std::mem::replace(&mut self.generated, tokens.min(MAX_TOKENS));
        match self.generated.checked_sub(before) {
            Some(more) => page.hold(0, more),
            None => page.release(0, before - self.generated),
        }
    }

    /// The request is over.
    #[inline]
    pub(crate) fn leave(&mut self, page: Page<'_>) {
        let held = self.entry.prompt_tokens + self.generated;
        let pending = u32::from(std::mem::take(&mut self.is_pending));
        page.release(pending, held);
        if pending > 0 {
            self.end_prefill(page);
        }
        if let (Some(first), Some(more @ 1..)) = (self.first_token, self.generated.checked_sub(1)) {
            let time = milliseconds(virtual_time::now().saturating_duration_since(first));
            #[expect(clippy::cast_precision_loss, reason = "a mean")]
            move_average(page.tpot, time / more as f32);
        }
    }

    #[inline]
    fn end_prefill(&mut self, page: Page<'_>) {
        page.end_prefill(self.entry.prefill_tokens, self.entry.uncached_tokens);
        if self.entry.cost > 0.0 {
            page.take_cost(self.entry.cost);
        }
        if let Some(place) = self.sent.take() {
            page.forget(place);
        }
    }
}

fn milliseconds(time: Duration) -> f32 {
    time.as_secs_f32() * 1e3
}
