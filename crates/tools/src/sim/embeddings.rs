//! `/v1/embeddings`: unit vectors that depend on the text alone, so that equal inputs have equal
//! embeddings at every worker.

use serde::Deserialize;
use serde_json::{Value, json};

use crate::sim::config::SimConfig;
use crate::sim::error::ApiError;
use crate::sim::fields::{PromptField, Text};
use crate::sim::generation::{Format, GenerationRequest};
use crate::sim::openai::{bounded, check_model};
use crate::sim::prompt_reader::Hashing;
use crate::sim::seed::{mix, unit};

/// Length of a vector if the request names none.
const DEFAULT_DIMENSIONS: u32 = 64;
/// Longest vector.
const MAX_DIMENSIONS: u32 = 4096;

#[derive(Deserialize)]
struct EmbeddingRequest<'a> {
    #[serde(borrow)]
    model: Option<Text<'a>>,
    #[serde(borrow)]
    input: Option<PromptField<'a>>,
    dimensions: Option<u32>,
    encoding_format: Option<Encoding>,
}

/// How a vector is written.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Encoding {
    /// As JSON numbers.
    Float,
    /// As little-endian 32-bit floats in base64, which OpenAI's clients ask for.
    Base64,
}

/// How the answer is to be written.
#[derive(Clone, Copy, Debug)]
pub(crate) struct EmbeddingForm {
    dimensions: u32,
    encoding: Encoding,
}

/// Reads the body of `/v1/embeddings`.
///
/// # Errors
/// What is wrong with it, as the client is told.
pub(crate) fn read_embeddings(
    body: &[u8],
    config: &SimConfig,
) -> Result<(GenerationRequest, EmbeddingForm), ApiError> {
    let request: EmbeddingRequest<'_> =
        serde_json::from_slice(body).map_err(|cause| ApiError::malformed(&cause))?;
    check_model(request.model.as_ref(), config)?;
    let input = request
        .input
        .ok_or_else(|| ApiError::parameter("input", "`input` is missing: expected a string or a list"))?;
    let dimensions = request.dimensions.unwrap_or(DEFAULT_DIMENSIONS);
    if !(1..=MAX_DIMENSIONS).contains(&dimensions) {
        let message = format!("`dimensions` is {dimensions}: expected 1 to {MAX_DIMENSIONS}");
        return Err(ApiError::parameter("dimensions", message));
    }
    let ask = GenerationRequest {
        format: Format::Embeddings,
        prompts: input.read("input", Hashing::Blocks(config.block_tokens))?,
        choices_per_prompt: 1,
        max_tokens: None,
        stream: false,
        include_usage: false,
        room: None,
        rank: None,
        transfer: None,
    };
    let encoding = request.encoding_format.unwrap_or(Encoding::Float);
    Ok((bounded(ask, None, config)?, EmbeddingForm { dimensions, encoding }))
}

/// The body of the answer.
pub(crate) fn embeddings_answer(ask: &GenerationRequest, form: EmbeddingForm, config: &SimConfig) -> Value {
    let data: Vec<Value> = ask
        .prompts
        .iter()
        .enumerate()
        .map(|(index, prompt)| {
            let vector = vector(prompt.digest, form.dimensions);
            let embedding = match form.encoding {
                Encoding::Float => json!(vector),
                Encoding::Base64 => {
                    let bytes: Vec<u8> = vector.iter().flat_map(|v| v.to_le_bytes()).collect();
                    Value::from(base64(&bytes))
                }
            };
            json!({ "object": "embedding", "index": index, "embedding": embedding })
        })
        .collect();
    let tokens = ask.prompt_tokens();
    json!({
        "object": "list",
        "data": data,
        "model": config.model,
        "usage": { "prompt_tokens": tokens, "total_tokens": tokens },
    })
}

/// A vector of length 1 from a hash.
#[expect(clippy::cast_possible_truncation, reason = "embeddings are 32-bit floats")]
fn vector(digest: u64, dimensions: u32) -> Vec<f32> {
    let raw: Vec<f64> = (0..u64::from(dimensions))
        .map(|dimension| unit(mix(digest ^ mix(dimension))).mul_add(2.0, -1.0))
        .collect();
    let length = raw.iter().map(|value| value * value).sum::<f64>().sqrt().max(f64::MIN_POSITIVE);
    raw.iter().map(|value| (value / length) as f32).collect()
}

/// Standard base64 with padding (RFC 4648, section 4).
fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let mut padded = [0_u8; 4];
        for (to, from) in padded.iter_mut().skip(1).zip(group) {
            *to = *from;
        }
        let bits = u32::from_be_bytes(padded);
        for place in 0..4 {
            let index = usize::try_from((bits >> (18 - 6 * place)) & 63).unwrap_or(0);
            // A group of n bytes fills n + 1 of the 4 letters.
            let letter = if place <= group.len() { ALPHABET.get(index) } else { None };
            text.push(char::from(letter.copied().unwrap_or(b'=')));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_matches_the_vectors_of_rfc_4648() {
        let cases = [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("fooba", "Zm9vYmE="),
            ("foobar", "Zm9vYmFy"),
        ];
        for (plain, encoded) in cases {
            assert_eq!(base64(plain.as_bytes()), encoded);
        }
    }

    #[test]
    fn vectors_have_length_one_and_depend_on_the_text() {
        let length: f32 = vector(7, 64).iter().map(|value| value * value).sum();
        assert!((length - 1.0).abs() < 1e-4, "{length}");
        assert_eq!(vector(7, 64), vector(7, 64));
        assert_ne!(vector(7, 64), vector(8, 64));
    }

    #[test]
    fn embeddings_refuse_bad_dimensions_and_a_missing_input() {
        let read = |json: &str| read_embeddings(json.as_bytes(), &SimConfig::default());
        for json in ["{}", r#"{"input":"a","dimensions":0}"#, r#"{"input":"a","dimensions":9999}"#] {
            assert_eq!(read(json).expect_err(json).status, http::StatusCode::BAD_REQUEST);
        }
    }
}
