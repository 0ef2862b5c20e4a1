//! A request as a router would have read it.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::json;

use crate::proxy::facts::Facts;
use crate::proxy::{Route, Wanted, WantedFields, facts};
use crate::trial::described_request::{DescribedLeg, DescribedRequest};
use crate::trial::offered_workers::OfferedWorkers;
use sglang_router_rs::core::TokenRatios;
use sglang_router_rs::policies::{
    Explanation, FieldLookup, HeaderLookup, Leg, PolicyHandle, PromptTokens, QueryLookup, SelectWorkerInfo,
    WaitOffer,
};
use sglang_router_rs::types::PrefixBlocks;

/// How long a request may wait where the author does not say it: the router's default.
const MAY_WAIT_MS: u64 = 60_000;

/// Stands for the hashes of a prompt that is not given, where it is given how much of it workers hold: nobody
/// is asked for a prompt without hashes.
const SOME_HASHES: [u64; 1] = [0];

/// A request as a router would have read it.
#[derive(Debug)]
pub(crate) struct PreparedRequest {
    pub(crate) described: DescribedRequest,
    facts: Facts<'static>,
    prompt_tokens: Option<PromptTokens>,
    /// Tokens of a block of its text.
    block_tokens: f32,
}

impl PreparedRequest {
    /// Reads the body that is given, or one that says what is given of the prompt, as a router that asks this
    /// policy does.
    pub(crate) fn new(described: DescribedRequest, policy: &PolicyHandle) -> Self {
        let names = policy.wanted_names();
        let wanted = Wanted { fields: WantedFields { names, session: None }, ..Wanted::ALL };
        let body = body(&described);
        let route = described.route.as_deref().and_then(Route::of);
        let is_chat = described.body.as_ref().is_some_and(|body| body.get("messages").is_some());
        let route = route.unwrap_or(if is_chat { Route::Chat } else { Route::Completions });
        let read = body.as_deref().map(|body| facts(route, body.as_bytes(), wanted).into_owned());
        Self::of_facts(described, read)
    }

    /// The same with a body of any bytes.
    pub(crate) fn of_bytes(described: DescribedRequest, body: &[u8]) -> Self {
        let read = facts(Route::Completions, body, Wanted::ALL).into_owned();
        Self::of_facts(described, Some(read))
    }

    fn of_facts(described: DescribedRequest, read: Option<Facts<'static>>) -> Self {
        let ratios = TokenRatios::default();
        let counted = read.as_ref().map(|facts| facts.count_tokens(&ratios));
        let exact = described.prompt_tokens_exact;
        let prompt_tokens = described.prompt_tokens.map(|count| PromptTokens { count, exact }).or(counted);
        let facts = read.unwrap_or_default();
        let model = described.model.as_deref().or(facts.model.as_deref());
        let block_tokens = if facts.token_count > 0 {
            PrefixBlocks::DEFAULT.tokens as f32
        } else {
            ratios.tokens(model, PrefixBlocks::DEFAULT.text_bytes)
        };
        Self { described, facts, prompt_tokens, block_tokens }
    }

    /// The model that it asks for.
    pub(crate) fn model(&self) -> Option<&str> {
        self.described.model.as_deref().or(self.facts.model.as_deref())
    }

    /// Which selection it is.
    pub(crate) fn leg(&self) -> Leg {
        match self.described.leg {
            None | Some(DescribedLeg::Single) => Leg::Single,
            Some(DescribedLeg::Prefill) => Leg::Prefill,
            Some(DescribedLeg::Decode) => Leg::Decode,
        }
    }

    /// How it is looked for by name.
    pub(crate) fn names(&self) -> GivenNames<'_> {
        GivenNames { given: &self.described, found: &self.facts }
    }

    /// What a policy may know of it.
    pub(crate) fn info<'b>(
        &'b self,
        names: &'b GivenNames<'b>,
        offered: &'b OfferedWorkers,
        explanation: &'b Explanation,
    ) -> SelectWorkerInfo<'b> {
        let (given, facts) = (&self.described, &self.facts);
        let hashes = given.prefix_hashes.as_deref().or(facts.prefix_hashes.as_deref());
        // A prompt that is given may be too short for a block.
        let hashes = match hashes {
            None | Some([]) if offered.some_prefix => Some(&SOME_HASHES[..]),
            hashes => hashes,
        };
        SelectWorkerInfo {
            request_text: facts.text.as_deref(),
            prompt_bytes: given.prompt_bytes.or(Some(facts.text_bytes)),
            tokens: facts.tokens.as_deref(),
            prompt_tokens: self.prompt_tokens,
            max_tokens: given.max_tokens.or(facts.max_tokens),
            stream: given.stream.unwrap_or(facts.stream),
            route: given.route.as_deref(),
            session: given.session.as_deref(),
            client_key: given.client_key.as_deref(),
            prefix_hashes: hashes,
            prefix_block_tokens: Some(self.block_tokens),
            arrival_rate: given.arrival_rate,
            headers: Some(names),
            fields: Some(names),
            query: Some(names),
            model: self.model(),
            leg: self.leg(),
            excluded: offered.excluded.as_ref(),
            eligible: offered.eligible.as_ref(),
            request_key: given.session.as_deref(),
            wait: Some(WaitOffer {
                waited: Duration::from_millis(given.waited_ms),
                left: Duration::from_millis(given.may_wait_ms.unwrap_or(MAY_WAIT_MS)),
                held: given.held,
            }),
            explanation: Some(explanation),
            ..SelectWorkerInfo::NOTHING
        }
    }
}

/// What is given by name, else what is in the body.
#[derive(Debug)]
pub(crate) struct GivenNames<'a> {
    given: &'a DescribedRequest,
    found: &'a Facts<'static>,
}

fn of<'a>(map: &'a BTreeMap<String, String>, name: &str) -> Option<&'a str> {
    map.get(name).map(String::as_str)
}

impl HeaderLookup for GivenNames<'_> {
    fn header(&self, name: &str) -> Option<&str> {
        // Policies ask in lower case, and an author may write it as it is sent.
        let found = || self.given.headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
        of(&self.given.headers, name).or_else(|| found().map(|(_, value)| value.as_str()))
    }
}

impl FieldLookup for GivenNames<'_> {
    fn field(&self, pointer: &str) -> Option<&str> {
        of(&self.given.fields, pointer).or_else(|| self.found.fields.field(pointer))
    }
}

impl QueryLookup for GivenNames<'_> {
    fn parameter(&self, name: &str) -> Option<&str> {
        of(&self.given.query, name)
    }
}

/// The body of a request; none if nothing is given of it.
fn body(described: &DescribedRequest) -> Option<String> {
    if let Some(body) = &described.body {
        return Some(body.to_string());
    }
    let prompt = match (&described.request_text, &described.request_tokens) {
        (None, None) => return None,
        (Some(text), _) => json!(text),
        (None, Some(tokens)) => json!(tokens),
    };
    // Of a model that is not given there is no name, not an empty one.
    let body = match &described.model {
        Some(model) => json!({"model": model, "prompt": prompt}),
        None => json!({"prompt": prompt}),
    };
    Some(body.to_string())
}
