//! What is looked for in a body.

use crate::proxy::body_values::WantedFields;
use sglang_router_rs::policies::RequestNeeds;
use sglang_router_rs::types::PrefixBlocks;

/// What is looked for in a body.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// The prompt: how long it is, and how many there are.
    pub prompt: bool,
    /// Its text too.
    pub text: bool,
    /// Its token ids too.
    pub tokens: bool,
    /// Its length in tokens.
    pub prompt_tokens: bool,
    /// The model.
    pub model: bool,
    /// How many tokens may be generated.
    pub max_tokens: bool,
    /// Whether the answer is to be a stream.
    pub stream: bool,
    /// Hashes of the prompt's blocks.
    pub prefix: Option<PrefixBlocks>,
    /// The response that it goes on from.
    pub previous_response: bool,
    /// Values by where they are.
    pub fields: WantedFields,
}

impl Wanted {
    /// All that can be found without a name.
    pub const ALL: Self = Self {
        prompt: true,
        text: true,
        tokens: true,
        prompt_tokens: true,
        model: true,
        max_tokens: true,
        stream: true,
        prefix: Some(PrefixBlocks::DEFAULT),
        previous_response: true,
        fields: WantedFields { names: None, session: None },
    };

    /// What the policy needs, the model if requests are routed by it, and the prompt if a pair of
    /// workers has to be told how many there are.
    pub fn new(
        needs: RequestNeeds,
        fields: WantedFields,
        blocks: PrefixBlocks,
        by_model: bool,
        pair: bool,
    ) -> Self {
        let RequestNeeds { text, tokens, prompt_tokens, model, max_tokens, stream, prefix_hashes, .. } =
            needs;
        Self {
            prompt: text || tokens || prompt_tokens || prefix_hashes || pair,
            text,
            tokens,
            prompt_tokens,
            // Models differ in what they make of a text.
            model: model || tokens || prompt_tokens || prefix_hashes || by_model,
            max_tokens,
            stream,
            prefix: prefix_hashes.then_some(blocks),
            previous_response: false,
            fields,
        }
    }

    /// True if the body has to be parsed.
    pub fn anything(&self) -> bool {
        self.prompt
            || self.model
            || self.max_tokens
            || self.stream
            || self.previous_response
            || !self.fields.is_empty()
    }
}
