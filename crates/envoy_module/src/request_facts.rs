//! What Envoy knows of a request, as policies ask for it.

use sglang_router_rs::policies::{HeaderLookup, RequestNeeds, SelectWorkerInfo, key_of};
use sglang_router_rs::types::WorkerSet;

use crate::abi::RequestContext;

/// Digits of a hash key.
const HASH_DIGITS: usize = 16;

impl HeaderLookup for RequestContext<'_> {
    fn header(&self, name: &str) -> Option<&str> {
        Self::header(*self, name)
    }
}

/// A hash key as text, without the heap.
#[derive(Debug)]
pub(crate) struct HashText([u8; HASH_DIGITS]);

impl HashText {
    fn of(hash: u64) -> Self {
        let digit = |place: usize| {
            let shift = 4 * (HASH_DIGITS - 1 - place);
            char::from_digit(u32::try_from((hash >> shift) & 15).unwrap_or_default(), 16)
                .map_or(b'0', |c| c as u8)
        };
        Self(std::array::from_fn(digit))
    }

    fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

/// What is looked up once for a decision; headers are looked up as the policy asks for them.
#[derive(Debug)]
pub(crate) struct RequestFacts<'call> {
    request: RequestContext<'call>,
    hash: Option<HashText>,
    route: Option<&'call str>,
    needs_session: bool,
    avoided: Option<WorkerSet>,
    arrival_rate: Option<f32>,
}

impl<'call> RequestFacts<'call> {
    pub(crate) fn new(
        request: RequestContext<'call>,
        needs: RequestNeeds,
        avoided: Option<WorkerSet>,
    ) -> Self {
        let path = request.header(":path");
        let route = path.map(|path| path.split_once('?').map_or(path, |(route, _)| route));
        let hash = if needs.session { request.hash_key().map(HashText::of) } else { None };
        Self { request, hash, route, needs_session: needs.session, avoided, arrival_rate: None }
    }

    /// With how many requests come in a second.
    pub(crate) fn arriving_at(self, arrival_rate: Option<f32>) -> Self {
        Self { arrival_rate, ..self }
    }

    /// The session is what the route's hash policy makes of the request; without one, a header names it.
    pub(crate) fn info(&self) -> SelectWorkerInfo<'_> {
        let from_hash = self.hash.as_ref().map(HashText::as_str);
        let session = if self.needs_session { from_hash.or_else(|| key_of(&self.request)) } else { None };
        SelectWorkerInfo {
            session,
            request_key: session,
            route: self.route,
            headers: Some(&self.request),
            excluded: self.avoided.as_ref(),
            arrival_rate: self.arrival_rate,
            ..SelectWorkerInfo::NOTHING
        }
    }
}

/// What a policy asks for that no load balancer of Envoy's can know, in words.
pub(crate) fn unknown_needs(needs: RequestNeeds) -> Vec<&'static str> {
    let all = [
        (needs.text, "the prompt"),
        (needs.tokens, "token ids"),
        (needs.prompt_tokens, "the length of the prompt"),
        (needs.max_tokens, "max_tokens"),
        (needs.stream, "whether the answer is a stream"),
        (needs.prefix_hashes, "hashes of the prompt"),
        (needs.prefix_match, "what workers hold of prompts"),
        (needs.names, "fields of the body and parameters of the URL"),
        (needs.model, "the model"),
    ];
    all.into_iter().filter(|(is_asked, _)| *is_asked).map(|(_, what)| what).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hash_is_written_as_sixteen_digits() {
        assert_eq!(HashText::of(0x0123_4567_89ab_cdef).as_str(), "0123456789abcdef");
        assert_eq!(HashText::of(7).as_str(), "0000000000000007");
    }

    #[test]
    fn only_what_is_asked_for_and_unknown_is_told() {
        let needs = RequestNeeds { session: true, text: true, model: true, ..RequestNeeds::default() };
        assert_eq!(unknown_needs(needs), ["the prompt", "the model"]);
    }
}
