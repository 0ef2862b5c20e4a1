//! A request with a place in the batch, past its prefill: hands out its tokens at their time.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, ready};

use tokio::time::{Instant, Sleep, sleep_until};

use crate::sim::batch::{Batch, BatchPlace};
use crate::sim::counters::{Counters, Flight};
use crate::sim::generation::GenerationPlan;
use crate::sim::time_model::TimeModel;

/// Tokens of one request, in order.
///
/// Dropping it before [`finish`](Self::finish) frees the place and counts the request as
/// cancelled.
#[derive(Debug)]
pub(crate) struct Run {
    generation: GenerationPlan,
    batch: Arc<Batch>,
    counters: Arc<Counters>,
    model: TimeModel,
    emitted: u32,
    /// None if nothing takes time.
    pace: Option<TokenPace>,
    place: BatchPlace,
    flight: Flight,
}

/// When the next token is due. Due times add up, so that the rounding of timers to milliseconds
/// does not: on average the pace is the modelled one.
#[derive(Debug)]
struct TokenPace {
    due: Instant,
    last: Instant,
    sleep: Pin<Box<Sleep>>,
}

impl Run {
    pub(crate) fn new(
        generation: GenerationPlan,
        model: TimeModel,
        batch: Arc<Batch>,
        counters: Arc<Counters>,
        place: BatchPlace,
        flight: Flight,
    ) -> Self {
        // Prefill makes the first token; a request for none or one never sets a timer.
        let pace = (!model.is_instant() && generation.output_tokens > 1).then(|| {
            let now = Instant::now();
            TokenPace { due: now, last: now, sleep: Box::pin(sleep_until(now)) }
        });
        Self { generation, batch, counters, model, emitted: 0, pace, place, flight }
    }

    /// What this run answers.
    pub(crate) fn generation(&self) -> &GenerationPlan {
        &self.generation
    }

    /// The index of the next token once it is due; `None` after the last one.
    pub(crate) fn poll_token(&mut self, cx: &mut Context<'_>) -> Poll<Option<u32>> {
        let index = self.emitted;
        if index == self.generation.output_tokens {
            return Poll::Ready(None);
        }
        if index > 0
            && let Some(pace) = &mut self.pace
        {
            ready!(pace.sleep.as_mut().poll(cx));
        }
        self.note_token(index);
        Poll::Ready(Some(index))
    }

    /// Waits until all tokens are made.
    ///
    /// # Cancel safety
    /// Safe: tokens that were made stay made.
    pub(crate) async fn complete(&mut self) {
        if self.pace.is_none() {
            self.note_all_tokens();
            return;
        }
        while poll_fn(|cx| self.poll_token(cx)).await.is_some() {}
    }

    /// Ends the request with its answer and frees its place.
    pub(crate) fn finish(self) {
        let Self { place, flight, .. } = self;
        // Who sees no request in flight shall see no place taken either.
        drop(place);
        flight.complete();
    }

    fn note_token(&mut self, index: u32) {
        self.emitted = index + 1;
        let tokens = u64::from(self.generation.choices);
        self.counters.generated_tokens.fetch_add(tokens, Ordering::Relaxed);
        self.place.grow(tokens);
        if index == 0 {
            self.flight.note_first_token();
        }
        let Some(pace) = &mut self.pace else { return };
        if index > 0 {
            let now = Instant::now();
            self.counters.between_tokens.observe((now - pace.last).as_secs_f64());
            pace.last = now;
        }
        if self.emitted < self.generation.output_tokens {
            let unit = self.generation.seed.jitter(self.emitted);
            pace.due += self.model.decode_step(self.batch.running(), unit);
            pace.sleep.as_mut().reset(pace.due);
        }
    }

    fn note_all_tokens(&mut self) {
        let left = self.generation.output_tokens - self.emitted;
        let tokens = u64::from(left) * u64::from(self.generation.choices);
        self.emitted = self.generation.output_tokens;
        self.counters.generated_tokens.fetch_add(tokens, Ordering::Relaxed);
        self.place.grow(tokens);
        self.flight.note_first_token();
    }
}
