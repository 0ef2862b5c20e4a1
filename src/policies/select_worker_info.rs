//! What a policy may know about the request.

use std::fmt;

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

/// Headers that name a key; the first one present wins.
const KEY_HEADERS: [&str; 3] = ["x-routing-key", "x-session-id", "x-user-id"];

/// The key that keeps requests together, from a header: `x-routing-key`, `x-session-id` or `x-user-id`,
/// in this order.
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
    /// The request's headers.
    pub headers: Option<&'a dyn HeaderLookup>,
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
        headers: None,
        model: None,
        leg: Leg::Single,
        excluded: None,
        eligible: None,
        request_key: None,
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

    /// Bytes of the whole prompt.
    #[inline]
    pub fn whole_prompt_bytes(&self) -> u64 {
        self.prompt_bytes.or(self.request_text.map(str::len)).unwrap_or_default() as u64
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
            model: self.model || other.model,
        }
    }

    /// True if it needs anything in the body.
    pub fn body(self) -> bool {
        self.text || self.tokens || self.prompt_tokens || self.model
    }
}
