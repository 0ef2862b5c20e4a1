//! A router of one plugin, for tests.

use alloc::string::{String, ToString};
use alloc::vec::Vec;

use sgl_policy_abi::{
    ABI_VERSION, Answer, Completion, FirstToken, Init, Map, PairAnswer, ShedAnswer, Value, WaitAnswer,
    encode_completions, encode_first_tokens, encode_session_ends, encode_to_vec, init_error,
};

use crate::guest::Guest;
use crate::policy::{CompletionHook, FirstTokenHook, PairHook, Plugin, SessionEndHook, StateHook};
use crate::random::Rng;
use crate::testing::fleet::{Request, TestWorker};
use crate::testing::message;

/// What `select_worker` answered.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TestDecision {
    /// The index; an index that no worker has is given as it is.
    pub worker: Option<usize>,
    /// Why there was no decision.
    pub error: Option<String>,
    /// One score per worker, if the policy gave some.
    pub scores: Option<Vec<f32>>,
    /// The policy's reason, if it gave one.
    pub reason: Option<String>,
    /// The tag that the policy gave along with its choice.
    pub tag: Option<u64>,
    /// The cost that it gave along with its choice; 0.0 for none.
    pub cost: f32,
    /// How it has the request wait, if it does.
    pub wait: Option<WaitAnswer>,
    /// How it refuses the request, if it does.
    pub shed: Option<ShedAnswer>,
}

/// What `select_worker_pair` answered.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TestPairDecision {
    /// Prefill and decode by index.
    pub pair: Option<(usize, usize)>,
    /// Why there was no decision.
    pub error: Option<String>,
    /// The policy's reason, if it gave one.
    pub reason: Option<String>,
    /// The tag that the policy gave along with its choice.
    pub tag: Option<u64>,
    /// The costs that it gave along with its choice, prefill and decode; 0.0 for none.
    pub costs: (f32, f32),
    /// How it has the request wait, if it does.
    pub wait: Option<WaitAnswer>,
    /// How it refuses the request, if it does.
    pub shed: Option<ShedAnswer>,
}

/// One instance of a plugin, and a fleet whose signals a test may change.
#[derive(Debug)]
pub struct Harness<P> {
    /// Facts and signals. Signals go out with each decision; after a change of
    /// facts, or of the number of workers, call [`Harness::send_table`].
    pub workers: Vec<TestWorker>,
    guest: Guest<P>,
    config: Map,
    version: u64,
    rng: Rng,
}

#[expect(
    clippy::missing_panics_doc,
    reason = "only a message beyond 2 GiB, or an answer that the SDK never writes"
)]
impl<P: Plugin> Harness<P> {
    /// Starts the plugin with a configuration and sends it the table.
    ///
    /// # Errors
    /// What `init` answered.
    pub fn new<'k, C>(config: C, workers: Vec<TestWorker>) -> Result<Self, String>
    where
        C: IntoIterator<Item = (&'k str, Value)>,
    {
        let init = Init {
            abi: ABI_VERSION,
            plugin: P::MANIFEST.name.to_string(),
            generation: 1,
            config: config.into_iter().map(|(key, value)| (key.to_string(), value)).collect(),
            seed: 1,
        };
        let bytes = encode_to_vec(|w| init.encode(w)).expect("a test's config fits");
        let mut guest = Guest::new();
        if let Some(error) = init_error(guest.init(&bytes)).expect("the SDK answers as the ABI says") {
            return Err(error.to_string());
        }
        let mut harness = Self { workers, guest, config: init.config, version: 0, rng: Rng::new(1) };
        harness.send_table();
        Ok(harness)
    }

    /// Sends the facts of [`Harness::workers`] as the next version of the table,
    /// unless the plugin is exported `without_table`.
    pub fn send_table(&mut self) {
        self.version += 1;
        if P::HOOKS.table {
            let bytes = message::table(self.version, &self.workers).expect("a test's table fits");
            self.guest.on_workers(&bytes);
        }
    }

    /// Decides one request.
    pub fn select(&mut self, request: &Request) -> TestDecision {
        let bytes = self.message(request);
        let answer = Answer::decode(self.guest.select(&bytes)).expect("the SDK answers as the ABI says");
        let worker = answer.selected().map(|index| usize::try_from(index).expect("never negative"));
        match answer {
            Answer::Map(map) => TestDecision {
                worker,
                error: map.error.map(String::from),
                scores: map.scores.map(|bytes| {
                    bytes.as_chunks().0.iter().map(|score| f32::from_le_bytes(*score)).collect()
                }),
                reason: map.reason.map(String::from),
                tag: map.ticket.tag(),
                cost: map.ticket.cost(),
                wait: map.wait,
                shed: map.shed,
            },
            Answer::Ticketed { ticket, .. } => {
                TestDecision { worker, tag: ticket.tag(), cost: ticket.cost(), ..TestDecision::default() }
            }
            _ => TestDecision { worker, ..TestDecision::default() },
        }
    }

    /// Decides one request for prefill and decode together.
    pub fn select_pair(&mut self, request: &Request) -> TestPairDecision
    where
        P: PairHook,
    {
        let bytes = self.message(request);
        let answer =
            PairAnswer::decode(self.guest.select_pair(&bytes)).expect("the SDK answers as the ABI says");
        let index = |index| usize::try_from(index).expect("never negative");
        let (prefill, decode) = answer.tickets();
        let decision = TestPairDecision {
            pair: answer.selected().map(|(p, d)| (index(p), index(d))),
            tag: prefill.tag(),
            costs: (prefill.cost(), decode.cost()),
            ..TestPairDecision::default()
        };
        let PairAnswer::Map(map) = answer else { return decision };
        let (error, reason) = (map.error.map(String::from), map.reason.map(String::from));
        TestPairDecision { error, reason, wait: map.wait, shed: map.shed, ..decision }
    }

    /// Reports streamed answers that have begun.
    pub fn first_token(&mut self, first_tokens: &[FirstToken])
    where
        P: FirstTokenHook,
    {
        let version = self.version;
        let bytes = encode_to_vec(|w| encode_first_tokens(w, version, first_tokens.iter()));
        self.guest.on_first_token(&bytes.expect("a test's batch fits"));
    }

    /// Reports finished requests.
    pub fn complete(&mut self, completions: &[Completion])
    where
        P: CompletionHook,
    {
        let version = self.version;
        let bytes = encode_to_vec(|w| encode_completions(w, version, completions.iter()));
        self.guest.on_complete(&bytes.expect("a test's batch fits"));
    }

    /// Says that sessions are over.
    pub fn end_sessions(&mut self, sessions: &[&str])
    where
        P: SessionEndHook,
    {
        let bytes = encode_to_vec(|w| encode_session_ends(w, sessions.iter().copied()));
        self.guest.on_session_end(&bytes.expect("a test's batch fits"));
    }

    /// What the plugin would carry into its next generation.
    pub fn save_state(&mut self) -> Vec<u8>
    where
        P: StateHook,
    {
        Vec::from(self.guest.save_state())
    }

    /// Gives the plugin what the previous generation saved.
    pub fn restore_state(&mut self, saved: &[u8])
    where
        P: StateHook,
    {
        self.guest.restore_state(saved);
    }

    /// The guest itself, for messages that the harness would not write.
    pub fn guest(&mut self) -> &mut Guest<P> {
        &mut self.guest
    }

    /// The decision message of `request`, as the router would write it.
    #[must_use]
    pub fn message(&mut self, request: &Request) -> Vec<u8> {
        let random = request.random.unwrap_or_else(|| self.rng.next_u64());
        let inputs = P::MANIFEST.inputs;
        let bytes = message::decision(inputs, self.version, &self.workers, request, &self.config, random);
        bytes.expect("a test's message fits")
    }
}
