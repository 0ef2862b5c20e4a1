//! Calls that generate nothing: ranks, scores, classes, vectors, tokens, and what is spoken.

use serde::Deserialize;
use serde_json::{Value, json};

use crate::sim::config::SimConfig;
use crate::sim::error::ApiError;
use crate::sim::fields::{PromptField, Text};
use crate::sim::generation::{Format, GenerationRequest};
use crate::sim::openai::{bounded, check_model};
use crate::sim::prompt_reader::{Hashing, PromptReader};
use crate::sim::seed::{mix, unit};

/// Bytes of text that make a token.
const TOKEN_BYTES: usize = 4;

/// One of these calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SmallCall {
    /// `/rerank`
    Rerank,
    /// `/score`
    Score,
    /// `/classify`
    Classify,
    /// `/pooling`
    Pooling,
    /// `/tokenize`
    Tokenize,
    /// `/detokenize`
    Detokenize,
}

#[derive(Deserialize)]
struct SmallRequest<'a> {
    #[serde(borrow)]
    model: Option<Text<'a>>,
    #[serde(borrow)]
    query: Option<PromptField<'a>>,
    #[serde(borrow, alias = "items", alias = "text_2")]
    documents: Option<PromptField<'a>>,
    #[serde(borrow, alias = "prompt", alias = "content", alias = "text_1")]
    input: Option<PromptField<'a>>,
    #[serde(default)]
    tokens: Vec<u32>,
}

impl SmallCall {
    /// The call at a path, in either of its spellings.
    pub(crate) fn at(path: &str) -> Option<Self> {
        Some(match path {
            "/rerank" | "/v1/rerank" => Self::Rerank,
            "/score" | "/v1/score" => Self::Score,
            "/classify" | "/v1/classify" => Self::Classify,
            "/pooling" => Self::Pooling,
            "/tokenize" => Self::Tokenize,
            "/detokenize" => Self::Detokenize,
            _ => return None,
        })
    }

    /// Reads its body: what takes its time, and what is answered then.
    ///
    /// # Errors
    /// What is wrong with it, as the client is told.
    pub(crate) fn read(
        self,
        body: &[u8],
        config: &SimConfig,
    ) -> Result<(GenerationRequest, Value), ApiError> {
        let request: SmallRequest<'_> =
            serde_json::from_slice(body).map_err(|cause| ApiError::malformed(&cause))?;
        check_model(request.model.as_ref(), config)?;
        let hashing = Hashing::Blocks(config.block_tokens);
        let mut prompts = Vec::new();
        if self == Self::Detokenize {
            let mut reader = PromptReader::new(hashing);
            request.tokens.iter().for_each(|token| reader.push_id(*token));
            prompts.push(reader.finish());
        }
        for (name, field) in
            [("query", &request.query), ("input", &request.input), ("documents", &request.documents)]
        {
            if let Some(field) = field {
                prompts.extend(field.read(name, hashing)?);
            }
        }
        if prompts.is_empty() {
            return Err(ApiError::parameter("input", "there is nothing to read"));
        }
        let ask = GenerationRequest {
            format: Format::Embeddings,
            prompts,
            choices_per_prompt: 1,
            max_tokens: None,
            stream: false,
            include_usage: false,
            room: None,
            rank: None,
            transfer: None,
        };
        let answer = self.answer(&ask, &request, config);
        Ok((bounded(ask, None, config)?, answer))
    }

    fn answer(self, ask: &GenerationRequest, request: &SmallRequest<'_>, config: &SimConfig) -> Value {
        let score = |digest: u64| unit(mix(digest));
        let tokens = ask.prompt_tokens();
        let usage = json!({ "prompt_tokens": tokens, "total_tokens": tokens });
        // The first is what the others are compared with.
        let others = ask.prompts.iter().skip(1).enumerate();
        match self {
            Self::Rerank => {
                let mut results: Vec<(usize, f64)> =
                    others.map(|(index, prompt)| (index, score(prompt.digest))).collect();
                results.sort_by(|(_, a), (_, b)| b.total_cmp(a));
                let results: Vec<Value> = results
                    .iter()
                    .map(|(index, score)| json!({ "index": index, "relevance_score": score }))
                    .collect();
                json!({ "model": config.model, "results": results, "usage": usage })
            }
            Self::Score => {
                let data: Vec<Value> = others
                    .map(|(index, prompt)| json!({ "index": index, "object": "score", "score": score(prompt.digest) }))
                    .collect();
                json!({ "object": "list", "model": config.model, "data": data, "usage": usage })
            }
            Self::Classify | Self::Pooling => {
                let data: Vec<Value> = ask
                    .prompts
                    .iter()
                    .enumerate()
                    .map(|(index, prompt)| json!({ "index": index, "data": [score(prompt.digest)] }))
                    .collect();
                json!({ "object": "list", "model": config.model, "data": data, "usage": usage })
            }
            Self::Tokenize => {
                let text = match &request.input {
                    Some(PromptField::Text(text)) => text.as_bytes(),
                    _ => &[],
                };
                let id = |token: &[u8]| token.iter().rev().fold(0_u32, |id, byte| id << 8 | u32::from(*byte));
                let ids: Vec<u32> = text.chunks(TOKEN_BYTES).map(id).collect();
                json!({ "count": ids.len(), "max_model_len": config.context_tokens, "tokens": ids })
            }
            Self::Detokenize => {
                let bytes: Vec<u8> = request.tokens.iter().flat_map(|id| id.to_le_bytes()).collect();
                let text = String::from_utf8_lossy(&bytes);
                json!({ "prompt": text.trim_end_matches('\0') })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(path: &str, body: &Value) -> Value {
        let call = SmallCall::at(path).expect(path);
        call.read(body.to_string().as_bytes(), &SimConfig::default()).expect("a body").1
    }

    #[test]
    fn tokens_make_the_text_again() {
        let tokens = answer("/tokenize", &json!({ "prompt": "hello there" }));
        assert_eq!(tokens["count"], 3);
        let text = answer("/detokenize", &json!({ "tokens": tokens["tokens"] }));
        assert_eq!(text["prompt"], "hello there");
    }

    #[test]
    fn documents_are_ranked_and_scored_against_the_query() {
        let body = json!({ "query": "a", "documents": ["b", "c", "d"] });
        let results = answer("/v1/rerank", &body)["results"].as_array().unwrap().clone();
        assert_eq!(results.len(), 3);
        assert!(results[0]["relevance_score"].as_f64() >= results[2]["relevance_score"].as_f64());
        assert_eq!(answer("/score", &json!({ "text_1": "a", "text_2": ["b", "c"] }))["data"][1]["index"], 1);
    }
}
