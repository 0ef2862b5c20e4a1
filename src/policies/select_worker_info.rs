//! What a policy may know about the request.

use std::fmt;
use std::time::Duration;

use crate::policies::explanation::Explanation;
use crate::types::worker_set::WorkerSet;
use sgl_policy_abi::Leg;

/// Finds a request header. The proxy implements it for its header map, embedders for theirs.
pub trait HeaderLookup: Sync {
    /// The value of the header with this lower-case name, if it is there and is text.
    fn header(&self, name: &str) -> Option<&str>;
}

/// Pairs of lower-case name and value.
impl HeaderLookup for Vec<(String, String)> {
    fn header(&self, name: &str) -> Option<&str> {
        self.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

/// Finds a value of the request's body. The proxy implements it for what it found there.
pub trait FieldLookup: Sync {
    /// The value at this JSON pointer, as text: if it is there and is a text, a number or a truth value.
    fn field(&self, pointer: &str) -> Option<&str>;
}

/// Finds a parameter of the request's URL.
pub trait QueryLookup: Sync {
    /// The first value of the parameter with this name, decoded.
    fn parameter(&self, name: &str) -> Option<&str>;
}

/// Pairs of pointer and value.
impl FieldLookup for Vec<(String, String)> {
    fn field(&self, pointer: &str) -> Option<&str> {
        self.iter().find(|(known, _)| known == pointer).map(|(_, value)| value.as_str())
    }
}

/// Pairs of name and value.
impl QueryLookup for Vec<(String, String)> {
    fn parameter(&self, name: &str) -> Option<&str> {
        self.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

/// As [`PrefixBlocks`](crate::types::PrefixBlocks) has it by default.
const DEFAULT_BLOCK_TOKENS: f32 = 16.0;

/// Headers that name a key; the first one present wins.
const KEY_HEADERS: [&str; 4] = ["x-routing-key", "x-smg-routing-key", "x-session-id", "x-user-id"];

/// The key that keeps requests together, from a header: `x-routing-key`, `x-smg-routing-key` (that of
/// SGLang's router), `x-session-id` or `x-user-id`, in this order.
pub fn key_of(headers: &dyn HeaderLookup) -> Option<&str> {
    KEY_HEADERS.iter().find_map(|name| headers.header(name))
}

/// How long a prompt is, in the model's tokens. Of a batch, all prompts together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PromptTokens {
    /// How many there are.
    pub count: u32,
    /// True if they were counted, false if the number is an estimate.
    pub exact: bool,
}

/// What a router that lets requests wait says of that with each question. A policy that answers `wait`
/// where there is none of it has failed, and its failure policy decides.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WaitOffer {
    /// How long this request was held so far.
    pub waited: Duration,
    /// How long it may still be held. Zero: not at all, so that this is the last time that it is asked.
    pub left: Duration,
    /// How many requests are held, this one included if it is.
    pub held: u32,
}

impl WaitOffer {
    pub(crate) fn waited_ms(&self) -> u64 {
        milliseconds(self.waited)
    }

    /// Rounded up: nothing is left if and only if this is 0.
    pub(crate) fn left_ms(&self) -> u64 {
        milliseconds(self.left.saturating_add(Duration::from_nanos(999_999)))
    }
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// What is known about a request when its worker is chosen. Everything is optional: the router fills in
/// what the policy asked for (see [`RequestNeeds`]).
#[derive(Clone, Copy, Default)]
pub struct SelectWorkerInfo<'a> {
    /// The prompt, or the joined chat messages.
    pub request_text: Option<&'a str>,
    /// Bytes of the whole prompt, if `request_text` is only its beginning; `None` = it is complete.
    pub prompt_bytes: Option<usize>,
    /// Token ids, where the router has them.
    pub tokens: Option<&'a [u32]>,
    /// How many tokens the prompt has.
    pub prompt_tokens: Option<PromptTokens>,
    /// How many tokens may be generated at most.
    pub max_tokens: Option<u64>,
    /// Whether the answer is to be a stream.
    pub stream: bool,
    /// The path of the endpoint, such as `/v1/chat/completions`.
    pub route: Option<&'a str>,
    /// The key of the session that the request belongs to.
    pub session: Option<&'a str>,
    /// The name of the key that the client showed.
    pub client_key: Option<&'a str>,
    /// Hashes of the prompt's blocks, as [`PrefixHasher`](crate::types::PrefixHasher) makes them.
    pub prefix_hashes: Option<&'a [u64]>,
    /// Tokens of a block of these, on average; `None` = as many as a block of tokens has by default.
    pub prefix_block_tokens: Option<f32>,
    /// The same, if it is more than an assumption: counted, or learnt from what engines count.
    pub learnt_block_tokens: Option<f32>,
    /// Requests a second, a moving average over a minute.
    pub arrival_rate: Option<f32>,
    /// The request's headers.
    pub headers: Option<&'a dyn HeaderLookup>,
    /// Values of the request's body.
    pub fields: Option<&'a dyn FieldLookup>,
    /// Parameters of the request's URL.
    pub query: Option<&'a dyn QueryLookup>,
    /// The requested model.
    pub model: Option<&'a str>,
    /// Which choice this is.
    pub leg: Leg,
    /// Workers that were already tried for this request; they are never chosen.
    pub excluded: Option<&'a WorkerSet>,
    /// The only workers that may be chosen (they serve the model, they have the role);
    /// `None` = all.
    pub eligible: Option<&'a WorkerSet>,
    /// A key that keeps requests together, such as a session: requests with equal keys stay on the same
    /// side of a canary. `None` = chance decides.
    pub request_key: Option<&'a str>,
    /// What becomes of the request if the policy has it wait; `None` = it cannot.
    pub wait: Option<WaitOffer>,
    /// Where the policy explains its choice; `None` = nobody wants to know.
    pub explanation: Option<&'a Explanation>,
}

impl SelectWorkerInfo<'static> {
    /// Nothing is known: the default as a constant.
    pub const NOTHING: Self = Self {
        request_text: None,
        prompt_bytes: None,
        tokens: None,
        prompt_tokens: None,
        max_tokens: None,
        stream: false,
        route: None,
        session: None,
        client_key: None,
        prefix_hashes: None,
        prefix_block_tokens: None,
        learnt_block_tokens: None,
        arrival_rate: None,
        headers: None,
        fields: None,
        query: None,
        model: None,
        leg: Leg::Single,
        excluded: None,
        eligible: None,
        request_key: None,
        wait: None,
        explanation: None,
    };
}

impl SelectWorkerInfo<'_> {
    /// True unless the worker was tried before or does not qualify.
    #[inline]
    pub fn admits(&self, index: usize) -> bool {
        !self.excluded.is_some_and(|set| set.contains(index))
            && self.eligible.is_none_or(|set| set.contains(index))
    }

    /// Tokens of a block of the prompt.
    #[inline]
    pub fn block_tokens(&self) -> f32 {
        self.prefix_block_tokens.unwrap_or(DEFAULT_BLOCK_TOKENS)
    }

    /// Bytes of the whole prompt.
    #[inline]
    pub fn whole_prompt_bytes(&self) -> u64 {
        self.prompt_bytes.or(self.request_text.map(str::len)).unwrap_or_default() as u64
    }

    /// Whether and how long it may wait.
    #[inline]
    pub(crate) fn offer(&self) -> WaitOffer {
        self.wait.unwrap_or_default()
    }

    /// A request header by its lower-case name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.and_then(|headers| headers.header(name))
    }
}

impl fmt::Debug for SelectWorkerInfo<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SelectWorkerInfo")
            .field("request_text_bytes", &self.request_text.map(str::len))
            .field("tokens", &self.tokens.map(<[u32]>::len))
            .field("model", &self.model)
            .field("leg", &self.leg)
            .finish_non_exhaustive()
    }
}

/// What a policy needs to know of a request's body. A router parses the body only for that.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RequestNeeds {
    /// The prompt text (or its size).
    pub text: bool,
    /// Token ids.
    pub tokens: bool,
    /// How many tokens the prompt has.
    pub prompt_tokens: bool,
    /// How many tokens may be generated.
    pub max_tokens: bool,
    /// Whether the answer is to be a stream.
    pub stream: bool,
    /// The key of the session.
    pub session: bool,
    /// Hashes of the prompt's blocks.
    pub prefix_hashes: bool,
    /// How much of the prompt each worker holds, for which hashes are needed, and that it is noted where a
    /// request was sent.
    pub prefix_match: bool,
    /// How many requests come. Nothing of the body, but it must be counted.
    pub arrival_rate: bool,
    /// Fields of the body and parameters of the URL:
    /// [`wanted_names`](crate::policies::LoadBalancingPolicy::wanted_names) says which.
    pub names: bool,
    /// The requested model.
    pub model: bool,
}

impl RequestNeeds {
    /// What either of two policies needs.
    pub fn and(self, other: Self) -> Self {
        Self {
            text: self.text || other.text,
            tokens: self.tokens || other.tokens,
            prompt_tokens: self.prompt_tokens || other.prompt_tokens,
            max_tokens: self.max_tokens || other.max_tokens,
            stream: self.stream || other.stream,
            session: self.session || other.session,
            prefix_hashes: self.prefix_hashes || other.prefix_hashes,
            prefix_match: self.prefix_match || other.prefix_match,
            arrival_rate: self.arrival_rate || other.arrival_rate,
            names: self.names || other.names,
            model: self.model || other.model,
        }
    }

    /// True if it may need anything in the body.
    pub fn body(self) -> bool {
        let prompt = self.text || self.tokens || self.prompt_tokens || self.prefix_hashes;
        prompt || self.model || self.max_tokens || self.stream || self.session || self.names
    }
}
