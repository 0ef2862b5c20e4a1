//! A request as it was when a policy was asked about it.

use std::time::Duration;

use sgl_api::{DecisionRecord, RequestRecord};
use sglang_router_rs::core::WorkerRole;
use sglang_router_rs::policies::{Explanation, HeaderLookup, PromptTokens, SelectWorkerInfo, WaitOffer};
use sglang_router_rs::types::WorkerSet;

/// How long a request may wait where the record does not say it: the router's default.
const MAY_WAIT: Duration = Duration::from_secs(60);
/// Stands for the hashes of a prompt that were not recorded, where it was recorded how much of it workers
/// hold: nobody is asked for a prompt without hashes.
const SOME_HASHES: [u64; 1] = [0];

/// No header is recorded.
#[derive(Debug)]
struct NoHeaders;

impl HeaderLookup for NoHeaders {
    fn header(&self, _name: &str) -> Option<&str> {
        None
    }
}

/// What is known of a request at one decision.
#[derive(Debug)]
pub(crate) struct ReplayedRequest<'a> {
    decision: &'a DecisionRecord,
    prompt_tokens: Option<PromptTokens>,
    session: Option<String>,
    client_key: Option<String>,
}

impl<'a> ReplayedRequest<'a> {
    /// The request of this decision.
    pub(crate) fn new(record: &'a RequestRecord, decision: &'a DecisionRecord) -> Self {
        let facts = &decision.request;
        let session = facts.session.map(|number| format!("session-{number:016x}"));
        let client_key = facts.client_key.clone();
        Self { decision, prompt_tokens: prompt_tokens(record, decision), session, client_key }
    }

    /// The same for a policy.
    pub(crate) fn info<'b>(
        &'b self,
        eligible: Option<&'b WorkerSet>,
        explanation: &'b Explanation,
    ) -> SelectWorkerInfo<'b> {
        let facts = &self.decision.request;
        let is_matched = || self.decision.candidates.iter().any(|one| one.prefix_match.is_some());
        let hashes = match &*facts.prefix_hashes {
            [] => is_matched().then_some(&SOME_HASHES[..]),
            hashes => Some(hashes),
        };
        let left = facts.may_wait_ms.map_or(MAY_WAIT, Duration::from_millis);
        let wait = WaitOffer {
            waited: Duration::from_millis(facts.waited_ms.unwrap_or_default()),
            left,
            held: facts.held.unwrap_or_default(),
        };
        SelectWorkerInfo {
            prompt_bytes: facts.prompt_bytes.and_then(|bytes| usize::try_from(bytes).ok()),
            prompt_tokens: self.prompt_tokens,
            max_tokens: facts.max_tokens,
            stream: facts.stream,
            route: facts.path.as_deref(),
            session: self.session.as_deref(),
            client_key: self.client_key.as_deref(),
            request_key: self.session.as_deref(),
            prefix_hashes: hashes,
            prefix_block_tokens: facts.prefix_block_tokens,
            arrival_rate: facts.arrival_rate,
            model: facts.model.as_deref(),
            headers: Some(&NoHeaders),
            eligible,
            wait: Some(wait),
            explanation: Some(explanation),
            ..SelectWorkerInfo::NOTHING
        }
    }
}

/// Tokens of the prompt as they were known, or else as the worker counted them in the end.
pub(crate) fn prompt_tokens(record: &RequestRecord, decision: &DecisionRecord) -> Option<PromptTokens> {
    let facts = &decision.request;
    let exact = facts.prompt_tokens_exact.unwrap_or_default();
    let known = facts.prompt_tokens.map(|count| PromptTokens { count, exact });
    known.or_else(|| record.outcome.prompt_tokens.map(|count| PromptTokens { count, exact: true }))
}

/// True if somebody could be chosen at all.
pub(crate) fn has_choice(decision: &DecisionRecord) -> bool {
    let open = |role: fn(WorkerRole) -> bool| {
        decision.candidates.iter().any(|one| one.healthy && one.admitted && role(one.role))
    };
    match decision.chosen.len() {
        2 => open(|role| role == WorkerRole::Prefill) && open(|role| role == WorkerRole::Decode),
        _ => open(|_| true),
    }
}
