//! The clocks of a fleet, and what they say of a request.

use alloc::vec::Vec;
use core::time::Duration;

use sgl_policy_sdk::prelude::*;
use sgl_policy_sdk::{Declares, Lowest, PerWorker, Tagged};

use crate::clock::{PlacedPrompt, WorkerClock};
use crate::pace::WorkPace;
use crate::work::WorkModel;

/// Requests without a first token that are remembered.
const MAX_PLACED: usize = 8_192;

/// The clocks of all workers, and the requests that they wait for.
///
/// A policy calls [`Clocks::look`] for each decision, chooses one of the [`Clocks::quotes`], answers with
/// [`Clocks::place`], and passes on what it hears in its hooks. It must be `Serial`: there is one truth.
#[derive(Debug)]
pub struct Clocks {
    model: WorkModel,
    pub(crate) workers: PerWorker<WorkerClock>,
    pub(crate) fleet: WorkPace,
    count: f64,
    placed: Tagged<PlacedPrompt>,
    quotes: Vec<Quote>,
}

/// What one worker would do with the request.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Quote {
    /// Its index.
    pub worker: usize,
    /// Seconds until it is done with what it has.
    pub wait: f64,
    /// The work of this prompt there, in seconds at the nominal rate.
    pub work: f64,
    /// Seconds of work that it does in a second.
    pub pace: f64,
    /// Requests in flight there.
    pub load: f64,
}

impl Quote {
    /// Seconds until the first token.
    #[must_use]
    pub fn first_token(&self) -> f64 {
        self.wait + self.work / self.pace
    }
}

/// What a decision knows of the fleet.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Look {
    /// Seconds of the host's clock.
    pub now: f64,
    /// Seconds of work that a worker does in a second, on average.
    pub pace: f64,
    /// Requests that wait for their prompts, per worker: by Little's law, arrivals times the mean wait.
    pub waiting: f64,
}

impl Clocks {
    /// Clocks of a fleet without workers; `seed` is that of the instance.
    #[must_use]
    pub fn new(model: WorkModel, seed: u64) -> Self {
        Self {
            model,
            workers: PerWorker::default(),
            fleet: WorkPace::default(),
            count: 0.0,
            placed: Tagged::new(seed, MAX_PLACED),
            quotes: Vec::new(),
        }
    }

    /// The table changed.
    #[expect(clippy::cast_precision_loss, reason = "a number of workers")]
    pub fn on_workers(&mut self, table: &Table) {
        self.workers.follow(table);
        self.count = table.len() as f64;
        self.quotes = Vec::with_capacity(table.len());
    }

    /// Asks every worker that may be chosen what it would do with this request. `held` requests wait in the
    /// router.
    #[expect(clippy::cast_precision_loss, reason = "numbers of tokens, nanoseconds and workers")]
    pub fn look<P: Declares>(&mut self, ctx: &Context<'_, P>, held: f64) -> Look {
        let now = ctx.now_ns() as f64 * 1e-9;
        let pace = self.fleet.of_fleet();
        let prompt = ctx.prompt_tokens() as f64;
        let Self { model, workers, quotes, .. } = self;
        quotes.clear();
        ctx.candidates().iter().for_each(|worker| {
            let Some(clock) = workers.get_mut(worker) else { return };
            let missing = ctx.missing_tokens(worker);
            let (own, load) = (clock.pace.of_worker(pace), f64::from(ctx.load().get(worker)));
            let mut wait = clock.wait(now, load > 0.0);
            if let Some(age) = ctx.report_age_ms().known(worker) {
                clock.hear(now, f64::from(age) * 1e-3);
                if let Some(queued) = ctx.queued_tokens().known(worker) {
                    let queued = model.seconds(0.0, f64::from(queued));
                    wait = f64::max(wait, clock.reported_wait(now, queued, own));
                }
            }
            let work = model.seconds(prompt - missing, missing);
            quotes.push(Quote { worker, wait, work, pace: own, load });
        });
        let count = f64::max(quotes.len() as f64, 1.0);
        let wait = quotes.iter().map(|quote| quote.wait).sum::<f64>() / count;
        let arrivals = f64::from(ctx.arrival_rate());
        let arrivals = if arrivals.is_finite() { f64::max(arrivals, 0.0) } else { 0.0 };
        Look { now, pace, waiting: (arrivals * wait + held) / count }
    }

    /// What the workers would do, of the last [`Clocks::look`].
    #[must_use]
    pub fn quotes(&self) -> &[Quote] {
        &self.quotes
    }

    /// The cheapest quote; equal ones share by their load, and those of equal load by chance. A cost that is
    /// infinite or NaN counts as the highest, so that somebody is chosen while somebody may be.
    #[must_use]
    pub fn least(&self, rng: &mut Rng, cost: impl Fn(&Quote) -> f64) -> Option<Quote> {
        /// Seconds that a request in flight counts for, so that only equal ones are told apart by it.
        const TIE: f64 = 1e-6;
        let mut least = Lowest::NONE;
        self.quotes.iter().for_each(|quote| {
            let cost = cost(quote) + TIE * quote.load;
            least.offer(if cost.is_finite() { cost } else { f64::MAX }, *quote, rng);
        });
        least.kept()
    }

    /// The soonest first token, where own work costs everybody who waits: each second of it `kappa` seconds
    /// for each [`Look::waiting`] request besides. That price is of work and not of this worker's seconds,
    /// else slow workers would get nothing.
    #[must_use]
    pub fn least_toll(&self, look: Look, kappa: f64, rng: &mut Rng) -> Option<Quote> {
        self.least(rng, |quote| quote.first_token() + kappa * look.waiting * quote.work / look.pace)
    }

    /// Chooses that worker, and moves its clock on.
    pub fn place(&mut self, quote: Quote, now: f64) -> Choice {
        let Some(clock) = self.workers.get_mut(quote.worker) else { return quote.worker.into() };
        let placed = clock.send(now, quote.wait, quote.work, quote.pace);
        #[expect(clippy::cast_possible_truncation, reason = "a cost is an f32, and saturates")]
        let cost = (quote.work / quote.pace) as f32;
        let choice = Choice::from(quote.worker).with_tag(self.placed.keep(placed));
        if cost < sgl_policy_sdk::abi::MAX_COST { choice.with_cost(cost) } else { choice }
    }

    /// Hears of a first token.
    pub fn on_first_token(&mut self, first: &FirstToken) {
        let Some(placed) = first.tag.and_then(|tag| self.placed.get_mut(tag)).filter(|it| !it.begun) else {
            return;
        };
        placed.begun = true;
        let (placed, at) = (*placed, placed.at + f64::from(first.ms) * 1e-3);
        let Some(clock) = index(first.worker).and_then(|worker| self.workers.get_mut(worker)) else { return };
        let took = clock.first_token(placed, at);
        clock.pace.learn(placed.work, took, 1.0);
        self.fleet.learn(placed.work, took, self.count);
        let pace = clock.pace.of_worker(self.fleet.of_fleet());
        clock.set_right(placed, at, pace);
    }

    /// Hears of an end. One that is not streamed tells nothing of when its prompt was done, but that it is.
    pub fn on_complete(&mut self, completion: &Completion) {
        let Some(placed) = completion.tag.and_then(|tag| self.placed.take(tag)) else { return };
        let Some(clock) = index(completion.worker).and_then(|worker| self.workers.get_mut(worker)) else {
            return;
        };
        let pace = clock.pace.of_worker(self.fleet.of_fleet());
        match completion.total_ms {
            _ if placed.begun => {}
            Some(total) if completion.ok => {
                let done_at = clock.done_at;
                clock.set_right(placed, placed.at + f64::from(total) * 1e-3, pace);
                clock.done_at = clock.done_at.min(done_at);
            }
            _ => clock.take_back(placed, pace),
        }
    }
}

fn index(worker: u32) -> Option<usize> {
    usize::try_from(worker).ok()
}

/// A time in seconds as a policy answers it; 0 for what is none.
#[must_use]
pub fn duration(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds).unwrap_or_default()
}
