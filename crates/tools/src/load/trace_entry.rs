//! One recorded request.

use std::time::Duration;

/// One recorded request.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// From the first request of the trace.
    pub at: Duration,
    /// Length of the prompt.
    pub input_tokens: u32,
    /// Length of the answer, at least 1.
    pub output_tokens: u32,
    /// One id per block of prompt tokens, 512 in Mooncake's traces; equal ids are equal text. Empty if the trace does
    /// not say which prompts share a prefix.
    pub blocks: Vec<u64>,
    /// The session that it belongs to, if the trace says so.
    pub session: Option<Box<str>>,
    /// How long after the answer to the one before it in its session it came, if the trace says so.
    pub delay: Option<Duration>,
}
