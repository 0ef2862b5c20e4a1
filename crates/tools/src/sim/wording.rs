//! Whole answers, and the pieces of JSON that they share with streamed ones.

use bytes::{BufMut, Bytes, BytesMut};
use serde_json::Value;

use crate::sim::config::SimConfig;
use crate::sim::conversation::{message, response};
use crate::sim::generation::{Finish, Format, GenerationPlan};
use crate::sim::json::{push_hex, push_u64, quoted};
use crate::sim::prompt_reader::token_id;
use crate::sim::seed::mix;

/// `created` of a worker's first request, in seconds since 1970; each further request adds one.
pub(crate) const FIRST_CREATED: u64 = 1_700_000_000;

/// Longest word and its space, to size a buffer.
const BYTES_PER_WORD: usize = 12;

/// The constant parts of a worker's answers, escaped once.
#[derive(Debug)]
pub(crate) struct Wording {
    /// From `"model"` to the comma after `"system_fingerprint"`.
    model_and_fingerprint: String,
    /// Keeps the ids of different workers apart.
    id_salt: u64,
    model: Value,
}

impl Wording {
    pub(crate) fn new(config: &SimConfig) -> Self {
        let model = quoted(&config.model);
        let worker = quoted(&config.worker_id);
        let id_salt = config.worker_id.bytes().fold(0, |hash, byte| mix(hash ^ u64::from(byte)));
        let model_and_fingerprint = format!(r#""model":{model},"system_fingerprint":{worker},"#);
        Self { model_and_fingerprint, id_salt, model: Value::from(config.model.as_str()) }
    }

    /// Appends an answer's head, from its brace to the comma before `"choices"`.
    pub(crate) fn push_head(
        &self,
        out: &mut BytesMut,
        generation: &GenerationPlan,
        id_prefix: &str,
        object: &str,
    ) {
        out.put_slice(br#"{"id":""#);
        out.put_slice(id_prefix.as_bytes());
        push_hex(out, generation.seed.id(self.id_salt));
        out.put_slice(br#"","object":""#);
        out.put_slice(object.as_bytes());
        out.put_slice(br#"","created":"#);
        push_u64(out, FIRST_CREATED.saturating_add(generation.number));
        out.put_u8(b',');
        out.put_slice(self.model_and_fingerprint.as_bytes());
    }

    /// Appends `"meta_info"` of `/generate` after `completion_tokens` tokens of one choice.
    pub(crate) fn push_meta(
        &self,
        out: &mut BytesMut,
        generation: &GenerationPlan,
        choice: u32,
        completion_tokens: u32,
    ) {
        out.put_slice(br#""meta_info":{"id":""#);
        push_hex(out, generation.seed.id(self.id_salt ^ u64::from(choice)));
        out.put_slice(br#"","finish_reason":"#);
        let last = generation.output_tokens.saturating_sub(1);
        if completion_tokens < generation.output_tokens {
            out.put_slice(b"null");
        } else if generation.finish == Finish::Length {
            out.put_slice(br#"{"type":"length","length":"#);
            push_u64(out, u64::from(generation.output_tokens));
            out.put_u8(b'}');
        } else {
            out.put_slice(br#"{"type":"stop","matched":"#);
            push_u64(out, token_id(generation.seed.token(choice, last)));
            out.put_u8(b'}');
        }
        out.put_slice(br#","prompt_tokens":"#);
        push_u64(out, u64::from(generation.prompt_tokens));
        out.put_slice(br#","weight_version":"default","completion_tokens":"#);
        push_u64(out, u64::from(completion_tokens));
        out.put_slice(br#","cached_tokens":"#);
        push_u64(out, u64::from(generation.cached_tokens));
        out.put_u8(b'}');
    }

    /// The number that is in the id of an answer.
    pub(crate) fn id(&self, generation: &GenerationPlan) -> u64 {
        generation.seed.id(self.id_salt)
    }

    /// The name of the model.
    pub(crate) fn model(&self) -> &Value {
        &self.model
    }

    /// A whole answer; `format` is not [`Format::Embeddings`], which has a form of its own.
    pub(crate) fn answer(&self, format: Format, generation: &GenerationPlan) -> Bytes {
        let words = usize::try_from(generation.completion_tokens()).unwrap_or(0);
        let mut out = BytesMut::with_capacity(words.saturating_mul(BYTES_PER_WORD) + 512);
        match format {
            Format::Generate => self.push_generated(&mut out, generation, 0),
            Format::GenerateBatch => {
                out.put_u8(b'[');
                for choice in 0..generation.choices {
                    push_comma(&mut out, choice);
                    self.push_generated(&mut out, generation, choice);
                }
                out.put_u8(b']');
            }
            Format::Chat | Format::Completion | Format::Embeddings => {
                self.push_completion(&mut out, format, generation);
            }
            Format::Responses => {
                let created = FIRST_CREATED.saturating_add(generation.number);
                let answer = response(generation, self.id(generation), &self.model, created);
                out.put_slice(answer.to_string().as_bytes());
            }
            Format::Messages => {
                let answer = message(generation, self.id(generation), &self.model);
                out.put_slice(answer.to_string().as_bytes());
            }
        }
        out.freeze()
    }

    fn push_generated(&self, out: &mut BytesMut, generation: &GenerationPlan, choice: u32) {
        out.put_slice(br#"{"text":""#);
        generation.push_text(out, choice);
        out.put_slice(br#"","output_ids":["#);
        for index in 0..generation.output_tokens {
            generation.push_id(out, choice, index);
        }
        out.put_slice(b"],");
        self.push_meta(out, generation, choice, generation.output_tokens);
        out.put_u8(b'}');
    }

    fn push_completion(&self, out: &mut BytesMut, format: Format, generation: &GenerationPlan) {
        let chat = format == Format::Chat;
        let (id, object) = if chat { ("chatcmpl-", "chat.completion") } else { ("cmpl-", "text_completion") };
        self.push_head(out, generation, id, object);
        out.put_slice(br#""choices":["#);
        for choice in 0..generation.choices {
            push_comma(out, choice);
            out.put_slice(br#"{"index":"#);
            push_u64(out, u64::from(choice));
            let before: &[u8] =
                if chat { br#","message":{"role":"assistant","content":""# } else { br#","text":""# };
            out.put_slice(before);
            generation.push_text(out, choice);
            out.put_slice(if chat { br#""}"# } else { br#"""# });
            out.put_slice(br#","logprobs":null,"finish_reason":""#);
            out.put_slice(generation.finish.as_str().as_bytes());
            out.put_slice(br#""}"#);
        }
        out.put_slice(b"],");
        push_usage(out, generation);
        out.put_u8(b'}');
    }
}

/// Appends `"usage"` in OpenAI's form.
pub(crate) fn push_usage(out: &mut BytesMut, generation: &GenerationPlan) {
    let prompt = u64::from(generation.prompt_tokens);
    let completion = generation.completion_tokens();
    out.put_slice(br#""usage":{"prompt_tokens":"#);
    push_u64(out, prompt);
    out.put_slice(br#","completion_tokens":"#);
    push_u64(out, completion);
    out.put_slice(br#","total_tokens":"#);
    push_u64(out, prompt.saturating_add(completion));
    out.put_slice(br#","prompt_tokens_details":{"cached_tokens":"#);
    push_u64(out, u64::from(generation.cached_tokens));
    out.put_slice(b"}}");
}

/// Appends a comma before every element of a list but the first.
pub(crate) fn push_comma(out: &mut BytesMut, index: u32) {
    if index > 0 {
        out.put_u8(b',');
    }
}
