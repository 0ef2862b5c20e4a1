//! How many tokens a request took.

use crate::proxy::json_end::member;

/// What an answer says of its tokens. What it does not say is `None`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TokenUsage {
    /// Tokens of the prompt.
    pub prompt_tokens: Option<u32>,
    /// Tokens that were generated.
    pub completion_tokens: Option<u32>,
    /// Tokens of the prompt that were in the worker's cache.
    pub cached_tokens: Option<u32>,
}

impl TokenUsage {
    /// What an object says, and that about cached tokens.
    pub(crate) fn of(usage: &[u8], cached: Option<&[u8]>) -> Self {
        let plain = count(usage, b"prompt_tokens");
        // Anthropic counts what is read from and written to the cache beside the input.
        let read = count(usage, b"cache_read_input_tokens");
        let beside =
            read.unwrap_or(0).saturating_add(count(usage, b"cache_creation_input_tokens").unwrap_or(0));
        let input = || count(usage, b"input_tokens").map(|input| input.saturating_add(beside));
        let cached_tokens = cached.and_then(|cached| count(cached, b"cached_tokens")).or(read);
        let (prompt_tokens, cached_tokens) = match (plain.or_else(input), cached_tokens) {
            // One of them is wrong.
            (Some(all), Some(cached)) if cached > all => (None, None),
            // A share of what is not known says nothing.
            (None, Some(_)) => (None, None),
            known => known,
        };
        let output = || count(usage, b"output_tokens");
        let completion_tokens = count(usage, b"completion_tokens").or_else(output);
        Self { prompt_tokens, completion_tokens, cached_tokens }
    }
}

/// A member that is a whole number of at most 32 bits, written as one.
fn count(object: &[u8], name: &[u8]) -> Option<u32> {
    std::str::from_utf8(member(object, name)?).ok()?.parse().ok()
}
