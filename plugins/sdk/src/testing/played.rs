//! A fleet whose requests take their time, for tests of how a policy spreads many of them.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;

use sgl_policy_abi::Value;

use crate::hash::hash;
use crate::policy::Plugin;
use crate::random::mix;
use crate::testing::fleet::{Request, TestWorker};
use crate::testing::harness::{Harness, TestDecision};

/// Bytes of text in a block, as in the router.
const BLOCK_BYTES: usize = 64;
/// Tokens of such a block, and bytes of a token.
const BLOCK_TOKENS: usize = 16;
const TOKEN_BYTES: usize = 4;

/// A [`Harness`] that keeps the router's books and its prefix index, as far as one thread needs them:
/// `load`, `prefill_load`, `prefill_tokens`, `uncached_tokens`, `tokens_in_flight` and `pending_cost` count
/// what was sent and has not begun or ended, and `prefix_match` tells of what was sent where. No cache
/// forgets, and no time passes but what the test says.
#[derive(Debug)]
pub struct Played<P> {
    /// The plugin and its workers, whose numbers a test may change.
    pub harness: Harness<P>,
    /// Blocks that each worker was sent.
    held: Vec<BTreeSet<u64>>,
    sent: BTreeMap<u64, TestFlight>,
    next: u64,
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
        Ok(Self { harness, held: vec![BTreeSet::new(); workers], sent: BTreeMap::new(), next: 0 })
    }

    /// Decides one request and sends it; none if the plugin chooses no worker. Where the request does not say
    /// how many tokens its text has, each has four bytes.
    pub fn send(&mut self, request: &Request) -> Option<SentRequest> {
        let blocks = blocks(request.text.as_deref().unwrap_or_default());
        let mut request = request.clone();
        if request.prompt_tokens == 0 {
            let bytes = request.text.as_deref().map_or(0, str::len);
            request.prompt_tokens = u64::try_from(bytes / TOKEN_BYTES).unwrap_or(u64::MAX);
        }
        for (worker, held) in self.harness.workers.iter_mut().zip(&self.held) {
            let known = blocks.iter().take_while(|block| held.contains(block)).count() * BLOCK_TOKENS;
            worker.prefix_match = if blocks.is_empty() { -1 } else { signed(known) };
        }
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
        };
        self.count(&flight, 1);
        let id = self.next;
        self.next += 1;
        self.sent.insert(id, flight);
        Some(SentRequest { id, worker, decision })
    }

    /// The first token of a request comes.
    pub fn begin(&mut self, id: u64) {
        if let Some(flight) = self.sent.get_mut(&id).filter(|flight| flight.pending) {
            flight.pending = false;
            let flight = flight.clone();
            self.count_pending(&flight, -1);
        }
    }

    /// A request ends.
    pub fn end(&mut self, id: u64) {
        self.begin(id);
        if let Some(flight) = self.sent.remove(&id) {
            self.count(&flight, -1);
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

    fn count(&mut self, flight: &TestFlight, sign: i32) {
        if let Some(worker) = self.harness.workers.get_mut(flight.worker) {
            worker.load += sign;
            worker.tokens_in_flight += sign * flight.prompt;
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

fn signed(count: usize) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}
