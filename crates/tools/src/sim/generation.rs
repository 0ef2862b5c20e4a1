//! One request between its wire form and the engine: what was asked, and what will be answered.

use bytes::{BufMut, BytesMut};
use http::HeaderValue;

use crate::sim::json::push_u64;
use crate::sim::prompt_reader::{PromptShape, token_id, word};
use crate::sim::seed::RequestSeed;
use crate::sim::transfer_params::TransferParams;

/// The wire form of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// `/v1/chat/completions`
    Chat,
    /// `/v1/completions`
    Completion,
    /// `/generate` for one text: an object.
    Generate,
    /// `/generate` for a list of texts: a list of objects.
    GenerateBatch,
    /// `/v1/embeddings`
    Embeddings,
    /// `/v1/responses`
    Responses,
    /// `/v1/messages`
    Messages,
}

impl Format {
    /// True if its events have names, and no `[DONE]`.
    pub(crate) fn names_events(self) -> bool {
        matches!(self, Self::Responses | Self::Messages)
    }
}

/// A checked request.
#[derive(Debug)]
pub(crate) struct GenerationRequest {
    pub(crate) format: Format,
    /// At least one.
    pub(crate) prompts: Vec<PromptShape>,
    /// Answers wanted for each prompt, at least 1.
    pub(crate) choices_per_prompt: u32,
    /// Exact length of each answer in tokens; without it the seed decides.
    pub(crate) max_tokens: Option<u32>,
    /// Answer token by token.
    pub(crate) stream: bool,
    /// End a stream with a chunk that holds the usage.
    pub(crate) include_usage: bool,
    /// SGLang's `bootstrap_room`, to be sent back as a header.
    pub(crate) room: Option<HeaderValue>,
    /// The data-parallel rank that is to serve it.
    pub(crate) rank: Option<u32>,
    /// vLLM's `kv_transfer_params`.
    pub(crate) transfer: Option<TransferParams>,
}

impl GenerationRequest {
    /// One answer to one prompt, told with its usage.
    pub(crate) fn of_prompt(format: Format, prompt: PromptShape, stream: Option<bool>) -> Self {
        Self {
            format,
            prompts: vec![prompt],
            choices_per_prompt: 1,
            max_tokens: None,
            stream: stream.unwrap_or(false),
            include_usage: true,
            room: None,
            rank: None,
            transfer: None,
        }
    }

    /// Tokens of all prompts.
    pub(crate) fn prompt_tokens(&self) -> u32 {
        self.prompts.iter().fold(0, |sum, prompt| sum.saturating_add(prompt.tokens))
    }

    /// Answers wanted in all.
    pub(crate) fn choices(&self) -> u32 {
        let prompts = u32::try_from(self.prompts.len()).unwrap_or(u32::MAX);
        prompts.saturating_mul(self.choices_per_prompt)
    }
}

/// Why an answer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Finish {
    /// At the length that the request set.
    Length,
    /// At the length that the seed chose, as if at an end-of-text token.
    Stop,
}

impl Finish {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Length => "length",
            Self::Stop => "stop",
        }
    }
}

/// An answer before it is written: small numbers that determine every byte of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct GenerationPlan {
    /// Number of the request at its worker, from 0.
    pub(crate) number: u64,
    pub(crate) seed: RequestSeed,
    /// Tokens of all prompts.
    pub(crate) prompt_tokens: u32,
    /// Those of them that the prefix cache held.
    pub(crate) cached_tokens: u32,
    /// Length of each choice in tokens.
    pub(crate) output_tokens: u32,
    /// Answers in all.
    pub(crate) choices: u32,
    pub(crate) finish: Finish,
}

impl GenerationPlan {
    /// Output tokens of all choices.
    pub(crate) fn completion_tokens(&self) -> u64 {
        u64::from(self.output_tokens) * u64::from(self.choices)
    }

    /// Appends the text of one token; every token but the first starts with a space.
    pub(crate) fn push_token(&self, out: &mut BytesMut, choice: u32, index: u32) {
        if index > 0 {
            out.put_u8(b' ');
        }
        out.put_slice(word(self.seed.token(choice, index)).as_bytes());
    }

    /// Appends the text of a choice.
    pub(crate) fn push_text(&self, out: &mut BytesMut, choice: u32) {
        for index in 0..self.output_tokens {
            self.push_token(out, choice, index);
        }
    }

    /// Appends one token id; every id but the first starts with a comma.
    pub(crate) fn push_id(&self, out: &mut BytesMut, choice: u32, index: u32) {
        if index > 0 {
            out.put_u8(b',');
        }
        push_u64(out, token_id(self.seed.token(choice, index)));
    }
}
