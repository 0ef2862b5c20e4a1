//! What was found in a body.

use std::borrow::Cow;

use crate::proxy::body_values::BodyValues;
use crate::proxy::json::Broken;
use crate::proxy::prompt::MAX_TOKENS;
use crate::proxy::seed_fields::SeedFields;
use crate::tokens::TokenizedPrompt;
use sglang_router_rs::core::TokenRatios;
use sglang_router_rs::policies::PromptTokens;
use sglang_router_rs::types::{PrefixBlocks, PrefixHasher};

/// What was found in a body.
#[derive(Debug, Default)]
pub struct Facts<'a> {
    /// The prompt's text, 4 MiB of it at most: borrowed if it is one piece without escapes; otherwise
    /// pieces (chat messages, parts of messages, prompts of a batch) joined by line feeds.
    pub text: Option<Cow<'a, str>>,
    /// Bytes of the whole text.
    pub text_bytes: usize,
    /// Token ids, where the request has them instead of text: the first 1,048,576 of them.
    pub tokens: Option<Vec<u32>>,
    /// How many of them there are.
    pub token_count: usize,
    /// How many tokens may be generated at most.
    pub max_tokens: Option<u64>,
    /// Whether the answer is to be a stream.
    pub stream: bool,
    /// Hashes of the first prompt's blocks.
    pub prefix_hashes: Option<Vec<u64>>,
    /// Values by where they are.
    pub fields: BodyValues<'a>,
    /// The requested model.
    pub model: Option<Cow<'a, str>>,
    /// How many prompts or choices are asked for, if the request has a list of prompts or more
    /// than one choice.
    pub batch: Option<usize>,
    /// What its hashes are seeded with.
    pub(crate) seed: SeedFields<'a>,
    /// The response that it goes on from.
    pub previous_response: Option<Cow<'a, str>>,
    /// Why the rest of the body could not be read.
    pub broken: Option<Broken>,
}

impl Facts<'_> {
    /// How many tokens the prompt has: counted where there is no text, else estimated by what is known of
    /// the model.
    pub fn count_tokens(&self, ratios: &TokenRatios) -> PromptTokens {
        let counted = u32::try_from(self.token_count).unwrap_or(u32::MAX);
        let estimated = ratios.estimate(self.model.as_deref(), self.text_bytes as u64);
        PromptTokens {
            count: counted.saturating_add(estimated),
            exact: self.token_count > 0 && self.text_bytes == 0,
        }
    }

    /// Its text was tokenized. Its hashes become those of its tokens, in blocks of this size; its ids are
    /// kept if they are wanted.
    pub(crate) fn tokenized(&mut self, told: TokenizedPrompt, blocks: Option<PrefixBlocks>, keeps_ids: bool) {
        if let Some(blocks) = blocks.filter(|_| told.is_whole) {
            let mut hasher = PrefixHasher::new(blocks, size_of_val(told.first()));
            told.first().iter().for_each(|token| hasher.token(*token));
            // Tools are among the tokens.
            let hashes = self.seed.seed(self.model.as_deref(), 0, |seed| hasher.finish(seed));
            self.prefix_hashes = Some(hashes);
        }
        if keeps_ids && !told.ids.is_empty() {
            let mut ids = told.ids;
            ids.truncate(MAX_TOKENS);
            self.tokens = Some(ids);
        }
    }

    /// The same without the body.
    pub(crate) fn into_owned(self) -> Facts<'static> {
        let owned = |text: Option<Cow<'_, str>>| text.map(|text| Cow::Owned(text.into_owned()));
        let (text, model, fields) = (owned(self.text), owned(self.model), self.fields.into_owned());
        let seed = self.seed.into_owned();
        let previous_response = owned(self.previous_response);
        let Self {
            text_bytes, tokens, token_count, max_tokens, stream, prefix_hashes, batch, broken, ..
        } = self;
        Facts {
            text,
            text_bytes,
            tokens,
            token_count,
            max_tokens,
            stream,
            prefix_hashes,
            fields,
            model,
            batch,
            seed,
            previous_response,
            broken,
        }
    }
}
