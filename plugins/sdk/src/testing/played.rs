//! A fleet whose requests take their time, for tests of how a policy spreads many of them.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;
use core::time::Duration;

use sgl_policy_abi::Value;

use crate::hash::hash;
use crate::policy::Plugin;
use crate::random::mix;
use crate::testing::fleet::{Request, TestWorker};
use crate::testing::harness::{Harness, TestDecision};
use crate::testing::standin::pass_time;

/// Bytes of text in a block, as in the router.
const BLOCK_BYTES: usize = 64;
/// Tokens of such a block, and bytes of a token.
const BLOCK_TOKENS: usize = 16;
const TOKEN_BYTES: usize = 4;

/// A [`Harness`] that keeps the router's books and its prefix index, as far as one thread needs them.
///
/// | kept | how |
/// |---|---|
/// | `load`, `tokens_in_flight` | requests from [`send`](Self::send) to [`end`](Self::end), with the tokens of their prompts and those [`generated`](Self::generated) |
/// | `prefill_load`, `prefill_tokens`, `uncached_tokens`, `pending_cost` | requests from `send` to [`begin`](Self::begin), with the costs that the plugin gave |
/// | `oldest_pending_ms` | age of the oldest of these, by the time that [`pass`](Self::pass) let pass |
/// | `ttft_ewma`, `tpot_ewma` | moving averages as the router's, from `send` to `begin` and from there to `end` by the token; unknown until time passes |
/// | `prefix_match`, `prefix_hashes` | blocks of 64 bytes of the text (16 tokens), or the request's own `prefix_hashes`; a worker holds what it was sent, and no cache forgets |
/// | `prompt_tokens`, `now_ns` | where the request does not say: a token for four bytes of the text, and the time that passed |
///
/// All else is as the test sets it: what workers report, health, `excluded`, `arrival_rate`, `held`,
/// `waited_ms` and `may_wait_ms` (a request that is to wait is sent again by the test), tables and events
/// ([`Harness::first_token`], [`Harness::complete`]).
#[derive(Debug)]
pub struct Played<P> {
    /// The plugin and its workers, whose numbers a test may change.
    pub harness: Harness<P>,
    /// Blocks that each worker was sent.
    held: Vec<BTreeSet<u64>>,
    sent: BTreeMap<u64, TestFlight>,
    next: u64,
    /// Milliseconds that passed.
    now: u64,
}

/// A request that [`Played`] has sent.
#[derive(Clone, Debug, PartialEq)]
pub struct SentRequest {
    /// Its number, for [`Played::begin`] and [`Played::end`].
    pub id: u64,
    /// The worker that it was sent to.
    pub worker: usize,
    /// The plugin's answer.
    pub decision: TestDecision,
}

/// What a request has added to its worker's numbers.
#[derive(Clone, Debug)]
struct TestFlight {
    worker: usize,
    prompt: i32,
    uncached: i32,
    cost: f32,
    pending: bool,
    /// When it was sent, and when its first token came.
    sent: u64,
    began: Option<u64>,
    generated: i32,
}

#[expect(clippy::missing_panics_doc, reason = "a test of a policy that does not decide has failed")]
impl<P: Plugin> Played<P> {
    /// An idle fleet of so many workers, with nothing in their caches.
    ///
    /// # Errors
    /// What `init` answered.
    pub fn new<'k, C>(config: C, workers: usize) -> Result<Self, String>
    where
        C: IntoIterator<Item = (&'k str, Value)>,
    {
        let mut fleet = TestWorker::fleet(workers);
        for worker in &mut fleet {
            (worker.prefill_load, worker.prefill_tokens, worker.uncached_tokens) = (0, 0, 0);
            (worker.tokens_in_flight, worker.pending_cost) = (0, 0.0);
        }
        let harness = Harness::new(config, fleet)?;
        Ok(Self { harness, held: vec![BTreeSet::new(); workers], sent: BTreeMap::new(), next: 0, now: 0 })
    }

    /// Decides one request and sends it; none if the plugin chooses no worker. Where the request does not say
    /// how many tokens its text has, each has four bytes.
    pub fn send(&mut self, request: &Request) -> Option<SentRequest> {
        let request = self.filled(request);
        let blocks = request.prefix_hashes.clone().unwrap_or_default();
        self.show(&blocks);
        let decision = self.harness.select(&request);
        let worker = decision.worker?;
        self.held.get_mut(worker)?.extend(blocks);
        let prompt = i32::try_from(request.prompt_tokens).unwrap_or(i32::MAX);
        let known = self.harness.workers.get(worker)?.prefix_match.max(0);
        let flight = TestFlight {
            worker,
            prompt,
            uncached: (prompt - known).max(0),
            cost: decision.cost,
            pending: true,
            sent: self.now,
            began: None,
            generated: 0,
        };
        self.count(&flight, 1);
        let id = self.next;
        self.next += 1;
        self.sent.insert(id, flight);
        Some(SentRequest { id, worker, decision })
    }

    /// Lets time pass, for ages, averages and entries of the shared map.
    pub fn pass(&mut self, ms: u64) {
        self.now += ms;
        pass_time(Duration::from_millis(ms));
    }

    /// The first token of a request comes.
    pub fn begin(&mut self, id: u64) {
        let now = self.now;
        if let Some(flight) = self.sent.get_mut(&id).filter(|flight| flight.pending) {
            flight.pending = false;
            flight.began = Some(now);
            let flight = flight.clone();
            self.count_pending(&flight, -1);
            if let Some(worker) = self.harness.workers.get_mut(flight.worker).filter(|_| now > 0) {
                move_average(&mut worker.ttft_ewma, milliseconds(now - flight.sent));
            }
        }
    }

    /// So many more tokens of a request come.
    pub fn generated(&mut self, id: u64, tokens: u32) {
        self.begin(id);
        let Some(flight) = self.sent.get_mut(&id) else { return };
        let tokens = i32::try_from(tokens).unwrap_or(i32::MAX);
        flight.generated += tokens;
        if let Some(worker) = self.harness.workers.get_mut(flight.worker) {
            worker.tokens_in_flight += tokens;
        }
    }

    /// A request ends.
    pub fn end(&mut self, id: u64) {
        self.begin(id);
        if let Some(flight) = self.sent.remove(&id) {
            self.count(&flight, -1);
            let more = u64::try_from(flight.generated - 1).unwrap_or_default();
            let time = self.now - flight.began.unwrap_or(self.now);
            let worker = self.harness.workers.get_mut(flight.worker);
            if let Some(worker) = worker.filter(|_| self.now > 0 && more > 0) {
                move_average(&mut worker.tpot_ewma, milliseconds(time) / milliseconds(more));
            }
        }
    }

    /// Sends each request in turn, with `in_flight` of them at a time, of which the newest `reading` have no
    /// first token yet. Where each went.
    pub fn run(
        &mut self,
        requests: impl IntoIterator<Item = Request>,
        in_flight: usize,
        reading: usize,
    ) -> Vec<usize> {
        let mut sent: Vec<SentRequest> = Vec::new();
        for request in requests {
            let ends = sent.len().checked_sub(in_flight).and_then(|oldest| sent.get(oldest));
            let begins = sent.len().checked_sub(reading).and_then(|oldest| sent.get(oldest));
            let (ends, begins) = (ends.map(|sent| sent.id), begins.map(|sent| sent.id));
            begins.into_iter().for_each(|id| self.begin(id));
            ends.into_iter().for_each(|id| self.end(id));
            sent.push(self.send(&request).expect("the plugin chooses a worker"));
        }
        sent.iter().for_each(|sent| self.end(sent.id));
        sent.iter().map(|sent| sent.worker).collect()
    }

    /// The request with what it does not say itself.
    fn filled(&self, request: &Request) -> Request {
        let mut request = request.clone();
        let text = request.text.as_deref().unwrap_or_default();
        let (blocks, bytes) = (blocks(text), text.len());
        if request.prefix_hashes.is_none() && !blocks.is_empty() {
            request.prefix_hashes = Some(blocks);
        }
        if request.prompt_tokens == 0 {
            request.prompt_tokens = u64::try_from(bytes / TOKEN_BYTES).unwrap_or(u64::MAX);
        }
        if request.now_ns == 0 {
            request.now_ns = self.now * 1_000_000;
        }
        request
    }

    /// Shows at the workers what depends on the request and on the time.
    fn show(&mut self, blocks: &[u64]) {
        let age = |flight: &TestFlight| i32::try_from(self.now - flight.sent).unwrap_or(i32::MAX);
        for (index, (worker, held)) in self.harness.workers.iter_mut().zip(&self.held).enumerate() {
            let known = blocks.iter().take_while(|block| held.contains(block)).count() * BLOCK_TOKENS;
            worker.prefix_match = if blocks.is_empty() { -1 } else { signed(known) };
            let pending = self.sent.values().filter(|flight| flight.pending && flight.worker == index);
            worker.oldest_pending_ms = pending.map(age).max().unwrap_or(-1);
        }
    }

    fn count(&mut self, flight: &TestFlight, sign: i32) {
        if let Some(worker) = self.harness.workers.get_mut(flight.worker) {
            worker.load += sign;
            worker.tokens_in_flight += sign * (flight.prompt + flight.generated);
        }
        if flight.pending {
            self.count_pending(flight, sign);
        }
    }

    fn count_pending(&mut self, flight: &TestFlight, sign: i32) {
        if let Some(worker) = self.harness.workers.get_mut(flight.worker) {
            worker.prefill_load += sign;
            worker.prefill_tokens += sign * flight.prompt;
            worker.uncached_tokens += sign * flight.uncached;
            worker.pending_cost += if sign < 0 { -flight.cost } else { flight.cost };
        }
    }
}

/// The whole blocks of a text, each with all before it.
fn blocks(text: &str) -> Vec<u64> {
    let mut above = 0;
    let whole = text.as_bytes().chunks_exact(BLOCK_BYTES);
    whole
        .map(|block| {
            above = mix(above ^ hash(block));
            above
        })
        .collect()
}

/// As the router's.
fn move_average(average: &mut f32, value: f32) {
    *average = if average.is_nan() { value } else { *average + (value - *average) / 10.0 };
}

#[expect(clippy::cast_precision_loss, reason = "a mean")]
fn milliseconds(time: u64) -> f32 {
    time as f32
}

fn signed(count: usize) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}
