//! How many tokens a request took.

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
